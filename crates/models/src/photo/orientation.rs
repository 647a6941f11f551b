//! The EXIF orientation: how stored pixels become an upright image.

/// EXIF tag 0x0112. Each variant says what has to be done to the stored pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Orientation {
    /// 1: nothing.
    #[default]
    Upright,
    /// 2: mirror left and right.
    MirrorHorizontal,
    /// 3: turn by 180°.
    Turn180,
    /// 4: mirror top and bottom.
    MirrorVertical,
    /// 5: mirror at the main diagonal.
    Transpose,
    /// 6: turn by 90° clockwise.
    Turn90,
    /// 7: mirror at the other diagonal.
    Transverse,
    /// 8: turn by 270° clockwise.
    Turn270,
}

impl Orientation {
    /// All eight, in the order of their EXIF values 1 to 8.
    pub const ALL: [Self; 8] = [
        Self::Upright,
        Self::MirrorHorizontal,
        Self::Turn180,
        Self::MirrorVertical,
        Self::Transpose,
        Self::Turn90,
        Self::Transverse,
        Self::Turn270,
    ];

    /// From EXIF's value; what is not 1 to 8 means nothing.
    pub fn from_exif_value(value: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(value).ok()?.checked_sub(1)?).copied()
    }

    /// From an EXIF block (a TIFF structure, without JPEG's `Exif\0\0`). Broken blocks mean upright.
    pub(super) fn from_exif_block(block: &[u8]) -> Self {
        let read = exif::Reader::new().continue_on_error(true).read_raw(block.to_vec());
        let exif = match read {
            Ok(exif) => exif,
            Err(error) => match error.distill_partial_result(|_| ()) {
                Ok(exif) => exif,
                Err(_) => return Self::Upright,
            },
        };
        exif.get_field(exif::Tag::Orientation, exif::In::PRIMARY)
            .and_then(|field| field.value.get_uint(0))
            .and_then(Self::from_exif_value)
            .unwrap_or_default()
    }

    /// Whether width and height change places.
    pub const fn swaps_axes(self) -> bool {
        matches!(self, Self::Transpose | Self::Turn90 | Self::Transverse | Self::Turn270)
    }

    /// Where the upright image's pixel (`x`, `y`) is stored, in a stored image of `width` × `height`.
    pub const fn stored_pixel(self, x: u32, y: u32, width: u32, height: u32) -> (u32, u32) {
        match self {
            Self::Upright => (x, y),
            Self::MirrorHorizontal => (width - 1 - x, y),
            Self::Turn180 => (width - 1 - x, height - 1 - y),
            Self::MirrorVertical => (x, height - 1 - y),
            Self::Transpose => (y, x),
            Self::Turn90 => (y, height - 1 - x),
            Self::Transverse => (width - 1 - y, height - 1 - x),
            Self::Turn270 => (width - 1 - y, x),
        }
    }

    /// Where the upright image's rectangle is stored, in a stored image of `width` × `height`.
    pub fn stored_rectangle(self, upright: Rectangle, width: u32, height: u32) -> Rectangle {
        let (width, height) = (f64::from(width), f64::from(height));
        let Rectangle {
            left,
            top,
            right,
            bottom,
        } = upright;
        let (left, top, right, bottom) = match self {
            Self::Upright => (left, top, right, bottom),
            Self::MirrorHorizontal => (width - right, top, width - left, bottom),
            Self::Turn180 => (width - right, height - bottom, width - left, height - top),
            Self::MirrorVertical => (left, height - bottom, right, height - top),
            Self::Transpose => (top, left, bottom, right),
            Self::Turn90 => (top, height - right, bottom, height - left),
            Self::Transverse => (width - bottom, height - right, width - top, height - left),
            Self::Turn270 => (width - bottom, left, width - top, right),
        };
        Rectangle {
            left,
            top,
            right,
            bottom,
        }
    }
}

/// A rectangle in pixels; edges may lie within a pixel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rectangle {
    /// Left edge.
    pub left: f64,
    /// Top edge.
    pub top: f64,
    /// Right edge.
    pub right: f64,
    /// Bottom edge.
    pub bottom: f64,
}

impl Rectangle {
    /// The width.
    pub fn width(&self) -> f64 {
        self.right - self.left
    }

    /// The height.
    pub fn height(&self) -> f64 {
        self.bottom - self.top
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rectangle_goes_where_its_pixels_go() {
        let (width, height) = (7, 5);
        for orientation in Orientation::ALL {
            // The upright pixel (1, 2) as a rectangle of one pixel.
            let (x, y) = orientation.stored_pixel(1, 2, width, height);
            let upright = Rectangle {
                left: 1.0,
                top: 2.0,
                right: 2.0,
                bottom: 3.0,
            };
            let stored = orientation.stored_rectangle(upright, width, height);
            let expected = Rectangle {
                left: f64::from(x),
                top: f64::from(y),
                right: f64::from(x + 1),
                bottom: f64::from(y + 1),
            };
            assert_eq!(stored, expected, "{orientation:?}");
        }
    }

    #[test]
    fn values_that_exif_does_not_know_mean_nothing() {
        assert_eq!(Orientation::from_exif_value(0), None);
        assert_eq!(Orientation::from_exif_value(6), Some(Orientation::Turn90));
        assert_eq!(Orientation::from_exif_value(9), None);
        assert_eq!(Orientation::from_exif_block(b"not exif at all"), Orientation::Upright);
        assert_eq!(
            Orientation::from_exif_block(b"MM\0\x2A\xFF\xFF\xFF\xFF"),
            Orientation::Upright
        );
        assert_eq!(Orientation::from_exif_block(b""), Orientation::Upright);
    }
}
