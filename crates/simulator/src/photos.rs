//! The photos' bytes: rendered when they are first asked for, outside of the practice's lock, and kept for a while.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use bytes::Bytes;

use crate::{
    picture::{self, PictureParameters},
    report::Region,
    specification::PhotoContent,
};

/// How many rendered photos are kept. Each is about a megabyte at camera size.
const KEPT: usize = 48;
const JPEG_QUALITY: u8 = 85;

/// A photo as it is handed out, without any fault.
#[derive(Debug, Clone)]
pub(crate) struct RenderedPhoto {
    pub(crate) bytes: Bytes,
    /// Where the lesions really are; empty for bytes that a test brought.
    pub(crate) lesions: Arc<[Region]>,
}

type Slot = Arc<OnceLock<RenderedPhoto>>;

/// The most recently made photos. Two requests for the same photo render it once; the second waits.
#[derive(Debug, Default)]
pub(crate) struct PhotoCache {
    slots: Mutex<VecDeque<(String, Slot)>>,
}

impl PhotoCache {
    /// The photo under this key, made if need be.
    pub(crate) fn get(&self, key: &str, content: &PhotoContent) -> RenderedPhoto {
        if let PhotoContent::Bytes(bytes) = content {
            return RenderedPhoto {
                bytes: bytes.clone(),
                lesions: Arc::from([]),
            };
        }
        self.slot(key).get_or_init(|| render(content)).clone()
    }

    fn slot(&self, key: &str) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let found = slots.iter().position(|(kept, _)| kept == key);
        let entry = found
            .and_then(|index| slots.remove(index))
            .unwrap_or_else(|| (key.to_owned(), Slot::default()));
        let slot = Arc::clone(&entry.1);
        slots.push_back(entry);
        if slots.len() > KEPT {
            slots.pop_front();
        }
        slot
    }
}

fn render(content: &PhotoContent) -> RenderedPhoto {
    match content {
        PhotoContent::Bytes(bytes) => RenderedPhoto {
            bytes: bytes.clone(),
            lesions: Arc::from([]),
        },
        PhotoContent::Synthetic {
            seed,
            condition,
            width,
            height,
            orientation,
        } => {
            let parameters = PictureParameters::new(*seed, *condition, *width, *height);
            let picture = picture::render(&parameters);
            let (width, height) = (f64::from(picture.width), f64::from(picture.height));
            let lesions = picture
                .lesions
                .iter()
                .map(|lesion| Region {
                    x: f64::from(lesion.x) / width,
                    y: f64::from(lesion.y) / height,
                    width: f64::from(lesion.width) / width,
                    height: f64::from(lesion.height) / height,
                })
                .collect();
            RenderedPhoto {
                bytes: Bytes::from(picture.to_jpeg(JPEG_QUALITY, *orientation)),
                lesions,
            }
        }
    }
}
