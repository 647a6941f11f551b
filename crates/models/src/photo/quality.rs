//! Simple measures of image quality, on the small image that the model sees.

use skin_assist_core::domain::Quality;

use crate::preprocess::SmallImage;

/// Sharpness and brightness of an upright small image.
///
/// Sharpness is the variance of the four-neighbour Laplacian of the luminance (Pech-Pacheco et al., "Diatom autofocusing
/// in brightfield microscopy", ICPR 2000) over the inner pixels; luminance is that of ITU-R BT.601. An image of fewer
/// than 3 × 3 pixels has sharpness 0. Clipped are pixels with a luminance of at most 2 or at least 253. Skin are pixels
/// with colour differences Cb from 77 to 127 and Cr from 130 to 173, whatever their luminance (Chai and Ngan, "Face
/// segmentation using skin-color map in videophone applications", 1999, who begin at 133, which leaves out the darkest
/// tone of the Monk scale): a coarse measure that tells an arm from a screen, and not from wood.
pub fn measure(image: &SmallImage) -> Quality {
    let luminance: Vec<f32> = image
        .pixels()
        .chunks_exact(3)
        .map(|pixel| 0.299 * f32::from(pixel[0]) + 0.587 * f32::from(pixel[1]) + 0.114 * f32::from(pixel[2]))
        .collect();
    let mean = luminance.iter().map(|value| f64::from(*value)).sum::<f64>() / luminance.len().max(1) as f64;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let (mut sum, mut squares, mut count) = (0.0_f64, 0.0_f64, 0_u32);
    for y in 1..height.saturating_sub(1) {
        let (above, here, below) = (
            &luminance[(y - 1) * width..],
            &luminance[y * width..],
            &luminance[(y + 1) * width..],
        );
        for x in 1..width.saturating_sub(1) {
            let value = f64::from(above[x] + below[x] + here[x - 1] + here[x + 1] - 4.0 * here[x]);
            sum += value;
            squares += value * value;
            count += 1;
        }
    }
    let variance = if count == 0 {
        0.0
    } else {
        let average = sum / f64::from(count);
        (squares / f64::from(count) - average * average).max(0.0)
    };
    Quality {
        sharpness: variance as f32,
        brightness: (mean / 255.0) as f32,
        clipped: Some(share(&luminance, |value| *value <= 2.0 || *value >= 253.0)),
        skin: Some(share(image.pixels().as_chunks().0, |pixel| is_skin(*pixel))),
    }
}

fn share<T>(values: &[T], holds: impl Fn(&T) -> bool) -> f32 {
    let count = values.iter().filter(|value| holds(value)).count();
    (count as f64 / values.len().max(1) as f64) as f32
}

fn is_skin([red, green, blue]: [u8; 3]) -> bool {
    let (red, green, blue) = (f32::from(red), f32::from(green), f32::from(blue));
    let blue_difference = 128.0 - 0.168_736 * red - 0.331_264 * green + 0.5 * blue;
    let red_difference = 128.0 + 0.5 * red - 0.418_688 * green - 0.081_312 * blue;
    (77.0..=127.0).contains(&blue_difference) && (130.0..=173.0).contains(&red_difference)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(width: u32, height: u32, value: impl Fn(u32, u32) -> u8) -> SmallImage {
        let pixels = (0..height)
            .flat_map(|y| (0..width).map(move |x| (x, y)))
            .flat_map(|(x, y)| [value(x, y); 3])
            .collect();
        SmallImage::new(pixels, width, height).expect("the pixels fit")
    }

    #[test]
    fn a_flat_image_is_blurred_and_as_bright_as_it_is() {
        let quality = measure(&image(8, 8, |_, _| 51));
        assert!(quality.sharpness < 1e-3, "{quality:?}");
        assert!((quality.brightness - 0.2).abs() < 1e-4, "{quality:?}");
    }

    #[test]
    fn a_chessboard_is_sharp() {
        // Each inner pixel's Laplacian is ±4 × 255, half of each on an even board: variance 1020².
        let quality = measure(&image(10, 10, |x, y| if (x + y) % 2 == 0 { 255 } else { 0 }));
        assert!((quality.sharpness - 1_040_400.0).abs() < 200.0, "{quality:?}");
        assert!((quality.brightness - 0.5).abs() < 1e-4, "{quality:?}");
    }

    #[test]
    fn skin_of_all_tones_is_told_from_a_table() {
        let share = |pixel: [u8; 3]| {
            let image = SmallImage::new(pixel.repeat(9), 3, 3).expect("nine pixels");
            measure(&image).skin.unwrap_or_default()
        };
        // The ten tones of the Monk scale.
        for tone in [
            0xF6_ED_E4,
            0xF3_E7_DB,
            0xF7_EA_D0,
            0xEA_DA_BA,
            0xD7_BD_96,
            0xA0_7E_56,
            0x82_5C_43,
            0x60_41_34,
            0x3A_31_2A,
            0x29_24_20_u32,
        ] {
            let [_, red, green, blue] = tone.to_be_bytes();
            assert!(share([red, green, blue]) > 0.99, "{tone:06x}");
        }
        for other in [[40, 90, 200], [30, 160, 40], [128, 128, 128], [255, 255, 255]] {
            assert!(share(other) < 0.01, "{other:?}");
        }
    }

    #[test]
    fn black_and_white_are_clipped() {
        let quality = measure(&image(10, 10, |x, _| [0, 255, 128, 60, 200][x as usize / 2]));
        assert_eq!(quality.clipped, Some(0.4));
    }

    #[test]
    fn a_tiny_image_has_no_inside() {
        assert_eq!(measure(&image(2, 2, |_, _| 255)).sharpness.to_bits(), 0.0_f32.to_bits());
    }
}
