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
