//! From pixels to the tensor that a model was trained on.
//!
//! A pack's manifest states the preprocessing of its training and this module follows it, since resize semantics change
//! results more than the choice of a decoder. `stretch-triangle` is a convolution with the triangle filter whose support
//! grows with the reduction (what Pillow calls `BILINEAR`, and the same to the last bit), to the model's size whatever the
//! aspect ratio. Turning upright happens on the small image; apart from the rounding between the two passes (at most one
//! level of 255) the result is the same as turning the large one first.

mod resample;

use skin_assist_core::{domain::NormalisedBox, ports::PhotoRefusal};

use crate::{
    pack::{ColourOrder, ModelInput, Resize},
    photo::{OpenPhoto, Orientation, Part, Photo, Rectangle, Source},
    runtime::Tensor,
};
use resample::{Place, Resampler, Rows};

/// Buffers of so many bytes are kept for the next photo.
const KEPT_BYTES: usize = 32 << 20;

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
    resampler: Resampler,
    part: Part,
}

impl Rows for Photo {
    fn place(&self) -> Place {
        let size = self.stored_size();
        Place {
            begin: (0, 0),
            size,
            image: size,
        }
    }

    fn is_grey(&self) -> bool {
        false
    }

    fn row(&self, row: u32, [red, green, blue]: &mut [Vec<i16>; 3]) {
        let length = self.stored_size().0 as usize * 3;
        let pixels = self.pixels()[row as usize * length..][..length].chunks_exact(3);
        for (((pixel, red), green), blue) in pixels.zip(red).zip(green).zip(blue) {
            [*red, *green, *blue] = [pixel[0], pixel[1], pixel[2]].map(i16::from);
        }
    }
}

impl Rows for Part {
    fn place(&self) -> Place {
        Place {
            begin: self.begin,
            size: self.size,
            image: self.image,
        }
    }

    fn is_grey(&self) -> bool {
        Self::is_grey(self)
    }

    fn row(&self, row: u32, colours: &mut [Vec<i16>; 3]) {
        Self::row(self, row, colours);
    }
}

impl Reducer {
    /// The whole photo, upright, stretched to `width` × `height`.
    pub fn whole(&mut self, photo: &Photo, width: u32, height: u32) -> SmallImage {
        self.reduce(photo, all_of(photo.stored_size()), width, height, Resize::Triangle)
    }

    /// A part of the photo, in pixels of the upright image, upright, stretched to `width` × `height`.
    pub fn part(&mut self, photo: &Photo, upright: Rectangle, width: u32, height: u32) -> SmallImage {
        let (stored_width, stored_height) = photo.stored_size();
        let stored = photo
            .orientation()
            .stored_rectangle(upright, stored_width, stored_height);
        self.reduce(photo, stored, width, height, Resize::Triangle)
    }

    /// As [`Self::whole`], of a photo that is decoded now as far as that needs it.
    pub fn whole_of(&mut self, photo: &OpenPhoto, width: u32, height: u32) -> Result<SmallImage, PhotoRefusal> {
        self.reduce_open(photo, None, width, height, Resize::Triangle)
    }

    /// As [`Self::part`], of a photo that is decoded now as far as that needs it.
    pub fn part_of(
        &mut self,
        photo: &OpenPhoto,
        upright: Rectangle,
        width: u32,
        height: u32,
    ) -> Result<SmallImage, PhotoRefusal> {
        self.reduce_open(photo, Some(upright), width, height, Resize::Triangle)
    }

    /// What a model sees of a photo, or of a part of it in pixels of the upright image.
    pub fn input_of(
        &mut self,
        photo: &OpenPhoto,
        upright: Option<Rectangle>,
        input: &ModelInput,
    ) -> Result<SmallImage, PhotoRefusal> {
        if let (None, Some(content)) = (upright, Content::of(photo.upright_size(), input)) {
            let image = self.reduce_open(photo, None, content.width, content.height, input.resize)?;
            return Ok(content.framed(&image, input));
        }
        self.reduce_open(photo, upright, input.width, input.height, input.resize)
    }

    fn reduce(&mut self, photo: &Photo, stored: Rectangle, width: u32, height: u32, resize: Resize) -> SmallImage {
        let small = stored_measures(photo.orientation(), width, height);
        let rows = self.resampler.resize(photo, stored, small, resize);
        upright(photo.orientation(), width, height, &rows, false)
    }

    fn reduce_open(
        &mut self,
        photo: &OpenPhoto,
        upright_part: Option<Rectangle>,
        width: u32,
        height: u32,
        resize: Resize,
    ) -> Result<SmallImage, PhotoRefusal> {
        let (stored_width, stored_height) = photo.stored_size();
        let stored = upright_part.map_or_else(
            || all_of((stored_width, stored_height)),
            |part| photo.orientation().stored_rectangle(part, stored_width, stored_height),
        );
        let baseline = match photo.source() {
            Source::Decoded(photo) => return Ok(self.reduce(photo, stored, width, height, resize)),
            Source::Compressed(baseline) => baseline,
        };
        let orientation = photo.orientation();
        let small = stored_measures(orientation, width, height);
        // What a photo that does not decode took is given back, and what an unusually large one took.
        let mut part = std::mem::take(&mut self.part);
        OpenPhoto::part(baseline, stored, small, resize, &mut part)?;
        let wanted = part.wanted.unwrap_or(stored);
        let rows = self.resampler.resize(&part, wanted, small, resize);
        let image = upright(orientation, width, height, &rows, part.is_grey());
        if part.bytes() <= KEPT_BYTES {
            self.part = part;
        }
        Ok(image)
    }
}

/// Where the photo is in a letterboxed image, in its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
}

/// The level of what is beside the photo, as YOLO's trainings have it.
const FRAME_LEVEL: u8 = 114;

impl Content {
    /// Of a photo of that upright size; none where the input is no letterbox. As large as fits, in the middle, an odd pixel
    /// on the right and below.
    pub(crate) fn of((width, height): (u32, u32), input: &ModelInput) -> Option<Self> {
        if !input.resize.is_letterbox() {
            return None;
        }
        let scale = f64::min(
            f64::from(input.width) / f64::from(width.max(1)),
            f64::from(input.height) / f64::from(height.max(1)),
        );
        let side = |side: u32, most: u32| ((f64::from(side) * scale).round() as u32).clamp(1, most);
        let (width, height) = (side(width, input.width), side(height, input.height));
        Some(Self {
            left: (input.width - width) / 2,
            top: (input.height - height) / 2,
            width,
            height,
        })
    }

    fn framed(self, image: &SmallImage, input: &ModelInput) -> SmallImage {
        let mut pixels = vec![FRAME_LEVEL; input.width as usize * input.height as usize * 3];
        let (row_bytes, width_bytes) = (self.width as usize * 3, input.width as usize * 3);
        for (row, line) in image.pixels.chunks_exact(row_bytes).enumerate() {
            let begin = (self.top as usize + row) * width_bytes + self.left as usize * 3;
            pixels[begin..begin + row_bytes].copy_from_slice(line);
        }
        SmallImage {
            pixels,
            width: input.width,
            height: input.height,
        }
    }

    /// The photo without what is beside it.
    pub(crate) fn cut_out(self, framed: &SmallImage) -> SmallImage {
        let rows = framed.pixels.chunks_exact(framed.width.max(1) as usize * 3);
        let rows = rows.skip(self.top as usize).take(self.height as usize);
        let (from, to) = (self.left as usize * 3, (self.left + self.width) as usize * 3);
        SmallImage {
            pixels: rows.flat_map(|row| row[from..to].iter().copied()).collect(),
            width: self.width,
            height: self.height,
        }
    }

    /// A box of the letterboxed image as one of the photo.
    pub(crate) fn in_photo(self, area: NormalisedBox, input: &ModelInput) -> NormalisedBox {
        let (across, down) = (
            input.width as f32 / self.width as f32,
            input.height as f32 / self.height as f32,
        );
        NormalisedBox {
            x: area.x * across - self.left as f32 / self.width as f32,
            y: area.y * down - self.top as f32 / self.height as f32,
            width: area.width * across,
            height: area.height * down,
        }
    }
}

fn all_of(stored: (u32, u32)) -> Rectangle {
    Rectangle {
        left: 0.0,
        top: 0.0,
        right: f64::from(stored.0),
        bottom: f64::from(stored.1),
    }
}

/// The measures of an upright image as it is stored.
const fn stored_measures(orientation: Orientation, width: u32, height: u32) -> (u32, u32) {
    if orientation.swaps_axes() {
        (height, width)
    } else {
        (width, height)
    }
}

/// An upright image of rows as they are stored, one colour after the other in each, or grey.
fn upright(orientation: Orientation, width: u32, height: u32, rows: &[u8], is_grey: bool) -> SmallImage {
    let stored = stored_measures(orientation, width, height);
    let line = stored.0 as usize;
    let (row, colour) = if is_grey { (line, 0) } else { (line * 3, line) };
    let mut pixels = Vec::with_capacity(width as usize * height as usize * 3);
    for y in 0..height {
        for x in 0..width {
            let (stored_x, stored_y) = orientation.stored_pixel(x, y, stored.0, stored.1);
            let at = stored_y as usize * row + stored_x as usize;
            pixels.extend_from_slice(&[rows[at], rows[at + colour], rows[at + 2 * colour]]);
        }
    }
    SmallImage { pixels, width, height }
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

/// The image mirrored left and right.
pub fn mirrored(image: &SmallImage) -> SmallImage {
    let rows = image.pixels.chunks_exact(image.width.max(1) as usize * 3);
    let pixels = rows.flat_map(|row| row.rchunks_exact(3).flatten().copied()).collect();
    SmallImage { pixels, ..*image }
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
    fn a_mirrored_image_is_the_other_way_round() {
        let image = SmallImage::new((0..12).collect(), 2, 2).expect("four pixels");
        assert_eq!(mirrored(&image).pixels(), [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8]);
        assert!(mirrored(&mirrored(&image)) == image);
    }

    #[test]
    fn the_tensor_is_planes_in_colour_order() {
        let image = SmallImage::new(vec![255, 0, 51, 0, 102, 255], 2, 1).expect("two pixels");
        let mut input = ModelInput {
            name: "image".into(),
            width: 2,
            height: 1,
            resize: Resize::Triangle,
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
