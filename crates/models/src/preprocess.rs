//! From pixels to the tensor that a model was trained on.
//!
//! A pack's manifest states the preprocessing of its training and this module follows it, since resize semantics change
//! results more than the choice of a decoder: `stretch-triangle` is a convolution with the triangle filter whose support
//! grows with the reduction (what Pillow calls `BILINEAR`), to the model's size whatever the aspect ratio. Turning
//! upright happens on the small image; apart from the rounding between the two passes (at most one level of 255) the
//! result is the same as turning the large one first.

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
};
use skin_assist_core::domain::NormalisedBox;

use crate::{
    pack::{ColourOrder, ModelInput},
    photo::{Photo, Rectangle},
    runtime::Tensor,
};

/// A small upright image: 8-bit RGB.
#[derive(Clone, PartialEq, Eq)]
pub struct SmallImage {
    pixels: Vec<u8>,
    width: u32,
    height: u32,
}

impl SmallImage {
    /// Of pixels, three bytes each, row by row. None when their number does not fit.
    pub fn new(pixels: Vec<u8>, width: u32, height: u32) -> Option<Self> {
        (pixels.len() as u64 == u64::from(width) * u64::from(height) * 3).then_some(Self { pixels, width, height })
    }

    /// The pixels, three bytes each, row by row.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Width in pixels.
    pub const fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub const fn height(&self) -> u32 {
        self.height
    }
}

/// Makes small images of photos; keeps its buffers for the next.
#[derive(Debug, Default)]
pub struct Reducer {
    resizer: Resizer,
}

impl Reducer {
    /// The whole photo, upright, stretched to `width` × `height`.
    pub fn whole(&mut self, photo: &Photo, width: u32, height: u32) -> SmallImage {
        let (stored_width, stored_height) = photo.stored_size();
        let all = Rectangle {
            left: 0.0,
            top: 0.0,
            right: f64::from(stored_width),
            bottom: f64::from(stored_height),
        };
        self.reduce(photo, all, width, height)
    }

    /// A part of the photo, in pixels of the upright image, upright, stretched to `width` × `height`.
    pub fn part(&mut self, photo: &Photo, upright: Rectangle, width: u32, height: u32) -> SmallImage {
        let (stored_width, stored_height) = photo.stored_size();
        let stored = photo
            .orientation()
            .stored_rectangle(upright, stored_width, stored_height);
        self.reduce(photo, stored, width, height)
    }

    fn reduce(&mut self, photo: &Photo, stored: Rectangle, width: u32, height: u32) -> SmallImage {
        let orientation = photo.orientation();
        let (small_width, small_height) = if orientation.swaps_axes() {
            (height, width)
        } else {
            (width, height)
        };
        let (stored_width, stored_height) = photo.stored_size();
        let mut small = Image::new(small_width, small_height, PixelType::U8x3);
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
            .crop(stored.left, stored.top, stored.width(), stored.height());
        // Both can fail only when a size does not fit, and a `Photo`'s and a `Rectangle`'s from this module do; if they
        // did not, a black image would be what the model sees, and the assertion tells the developer.
        let reduced = ImageRef::new(stored_width, stored_height, photo.pixels(), PixelType::U8x3)
            .is_ok_and(|image| self.resizer.resize(&image, &mut small, &options).is_ok());
        debug_assert!(reduced, "the crop lies in the photo");
        let small = small.into_vec();
        if orientation == crate::photo::Orientation::Upright {
            return SmallImage {
                pixels: small,
                width,
                height,
            };
        }
        let mut pixels = Vec::with_capacity(small.len());
        for y in 0..height {
            for x in 0..width {
                let (stored_x, stored_y) = orientation.stored_pixel(x, y, small_width, small_height);
                let at = (stored_y as usize * small_width as usize + stored_x as usize) * 3;
                pixels.extend_from_slice(&small[at..at + 3]);
            }
        }
        SmallImage { pixels, width, height }
    }
}

/// The tensor `[1, 3, height, width]` of a small image: `(value × scale − mean) / std` by channel.
pub fn tensor(image: &SmallImage, input: &ModelInput) -> Tensor {
    let (width, height) = (image.width as usize, image.height as usize);
    let area = width * height;
    let mut data = vec![0.0_f32; area * 3];
    for (channel, plane) in data.chunks_exact_mut(area.max(1)).enumerate() {
        let source = match input.colour_order {
            ColourOrder::Rgb => channel,
            ColourOrder::Bgr => 2 - channel,
        };
        // Only 256 values are possible: look them up.
        let mut levels = [0.0_f32; 256];
        for (value, level) in levels.iter_mut().enumerate() {
            *level = (value as f32 * input.scale - input.mean[channel]) / input.std[channel];
        }
        for (target, pixel) in plane.iter_mut().zip(image.pixels.chunks_exact(3)) {
            *target = levels[usize::from(pixel[source])];
        }
    }
    Tensor {
        shape: vec![1, 3, height, width],
        data,
    }
}

/// The square around a detected box, in whole pixels of the upright image: the longer side times `factor`, around the
/// box's centre, its edges rounded (halves to the even pixel), cut at the image's edges, so that there it is no square
/// any more. The box may reach beyond the image.
///
/// None when nothing is left of it.
pub fn square_around(area: &NormalisedBox, factor: f32, width: u32, height: u32) -> Option<Rectangle> {
    let (width, height) = (f64::from(width), f64::from(height));
    let box_width = f64::from(area.width) * width;
    let box_height = f64::from(area.height) * height;
    let half = box_width.max(box_height) * f64::from(factor) / 2.0;
    let x = f64::from(area.x) * width + box_width / 2.0;
    let y = f64::from(area.y) * height + box_height / 2.0;
    let rectangle = Rectangle {
        left: (x - half).round_ties_even().max(0.0),
        top: (y - half).round_ties_even().max(0.0),
        right: (x + half).round_ties_even().min(width),
        bottom: (y + half).round_ties_even().min(height),
    };
    (rectangle.width() > 0.0 && rectangle.height() > 0.0).then_some(rectangle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: f32, y: f32, width: f32, height: f32, factor: f32) -> Option<[f64; 4]> {
        square_around(&NormalisedBox { x, y, width, height }, factor, 400, 200)
            .map(|rectangle| [rectangle.left, rectangle.top, rectangle.right, rectangle.bottom])
    }

    #[test]
    fn the_square_takes_the_longer_side_in_pixels() {
        // 40 × 30 pixels around (220, 115).
        assert_eq!(square(0.5, 0.5, 0.1, 0.15, 1.0), Some([200.0, 95.0, 240.0, 135.0]));
        // 20 × 60 pixels around (210, 130), enlarged to 90.
        assert_eq!(square(0.5, 0.5, 0.05, 0.3, 1.5), Some([165.0, 85.0, 255.0, 175.0]));
    }

    #[test]
    fn at_the_edges_it_is_cut() {
        assert_eq!(square(0.0, 0.0, 0.1, 0.2, 1.5), Some([0.0, 0.0, 50.0, 50.0]));
        assert_eq!(square(0.95, 0.9, 0.05, 0.1, 2.0), Some([370.0, 170.0, 400.0, 200.0]));
        assert_eq!(
            square(-0.05, 0.45, 0.1, 0.1, 1.0),
            Some([0.0, 80.0, 20.0, 120.0]),
            "a box beyond the edge"
        );
        assert_eq!(square(0.0, 0.0, 1.0, 1.0, 10.0), Some([0.0, 0.0, 400.0, 200.0]));
    }

    #[test]
    fn halves_are_rounded_to_the_even_pixel_and_nothing_is_nothing() {
        // Centre 112.5, half 50: 62.5 and 162.5.
        assert_eq!(square(0.25, 0.25, 0.062_5, 0.5, 1.0), Some([62.0, 50.0, 162.0, 150.0]));
        assert_eq!(square(0.5, 0.5, 0.000_1, 0.000_1, 1.0), None);
        assert_eq!(square(1.5, 0.5, 0.1, 0.1, 1.0), None);
    }

    #[test]
    fn the_tensor_is_planes_in_colour_order() {
        let image = SmallImage::new(vec![255, 0, 51, 0, 102, 255], 2, 1).expect("two pixels");
        let mut input = ModelInput {
            name: "image".into(),
            width: 2,
            height: 1,
            colour_order: ColourOrder::Rgb,
            scale: 1.0 / 255.0,
            mean: [0.5, 0.0, 0.0],
            std: [0.5, 1.0, 2.0],
        };
        let close = |tensor: &Tensor, expected: [f32; 6]| {
            assert_eq!(tensor.shape, [1, 3, 1, 2]);
            for (value, expected) in tensor.data.iter().zip(expected) {
                assert!((value - expected).abs() < 1e-6, "{:?}", tensor.data);
            }
        };
        close(&tensor(&image, &input), [1.0, -1.0, 0.0, 0.4, 0.1, 0.5]);
        // Mean and deviation go with the place, not with the colour.
        input.colour_order = ColourOrder::Bgr;
        close(&tensor(&image, &input), [-0.6, 1.0, 0.0, 0.4, 0.5, 0.0]);
    }
}
