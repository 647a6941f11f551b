//! Photos in memory: on one machine they never touch a disk.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    domain::{DocumentId, FirmId, PhotoBytes},
    ports::{Photos, StateError},
    time::{Clock, Timestamp},
};

/// How long a photo is held at most: one whose document was retracted meanwhile, or that has waited this long for the
/// models, goes; if it is still wanted it is downloaded again.
pub const HELD_FOR: Duration = Duration::from_secs(10 * 60);

/// What a photo of a phone takes, before any was seen.
const USUAL_BYTES: usize = 4_000_000;

/// An in-memory [`Photos`] with a bound on the bytes it holds. What is lost with the process is downloaded again.
pub struct MemoryPhotos {
    clock: Arc<dyn Clock>,
    most_bytes: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    bytes: usize,
    /// Of a photo, on average; those of late count most.
    usual_bytes: usize,
    photos: HashMap<(FirmId, DocumentId), (Timestamp, PhotoBytes)>,
}

impl MemoryPhotos {
    /// Holds at most `most_bytes` bytes; `usize::MAX` for no bound.
    pub fn new(most_bytes: usize, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            most_bytes,
            held: Mutex::new(Held {
                usual_bytes: USUAL_BYTES,
                ..Held::default()
            }),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // No code that can panic runs under the lock.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn forget(&mut self, key: &(FirmId, DocumentId)) {
        if let Some((_, photo)) = self.photos.remove(key) {
            self.bytes -= photo.expose().len();
        }
    }

    fn forget_older_than(&mut self, oldest: Timestamp) {
        let Self { bytes, photos, .. } = self;
        photos.retain(|_, (since, photo)| {
            let stays = *since >= oldest;
            if !stays {
                *bytes -= photo.expose().len();
            }
            stays
        });
    }
}

#[async_trait]
impl Photos for MemoryPhotos {
    fn room(&self) -> usize {
        if self.most_bytes == usize::MAX {
            return usize::MAX;
        }
        let now = self.clock.now();
        let mut held = self.held();
        held.forget_older_than(now - HELD_FOR);
        // Whatever its size, one is let in alone.
        let least = usize::from(held.bytes == 0);
        (self.most_bytes.saturating_sub(held.bytes) / held.usual_bytes.max(1)).max(least)
    }

    async fn put(&self, firm: &FirmId, document: &DocumentId, photo: PhotoBytes) -> Result<(), StateError> {
        let key = (firm.clone(), document.clone());
        let now = self.clock.now();
        let mut held = self.held();
        held.forget(&key);
        held.forget_older_than(now - HELD_FOR);
        // A photo larger than the whole room is let in alone: the size limit of downloads is the one that refuses.
        if held.bytes > 0 && held.bytes + photo.expose().len() > self.most_bytes {
            return Err(StateError::NoRoom);
        }
        held.bytes += photo.expose().len();
        held.usual_bytes = (9 * held.usual_bytes + photo.expose().len()) / 10;
        held.photos.insert(key, (now, photo));
        Ok(())
    }

    async fn get(&self, firm: &FirmId, document: &DocumentId) -> Result<Option<PhotoBytes>, StateError> {
        Ok(self
            .held()
            .photos
            .get(&(firm.clone(), document.clone()))
            .map(|(_, photo)| photo.clone()))
    }

    async fn delete(&self, firm: &FirmId, document: &DocumentId) -> Result<(), StateError> {
        self.held().forget(&(firm.clone(), document.clone()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{phi::Phi, time::VirtualClock};

    #[test]
    fn holds_no_more_and_no_longer_than_it_may() {
        let clock = VirtualClock::new(Timestamp::from_millis(0));
        let photos = MemoryPhotos::new(10, Arc::new(clock.clone()));
        let firm = FirmId::new("a");
        let photo = |bytes: usize| Phi::new(Bytes::from(vec![0; bytes]));
        clock.run(async {
            photos.put(&firm, &DocumentId::new("1"), photo(6)).await.unwrap();
            photos.put(&firm, &DocumentId::new("1"), photo(7)).await.unwrap();
            let refused = photos.put(&firm, &DocumentId::new("2"), photo(6)).await;
            assert!(matches!(refused, Err(StateError::NoRoom)), "{refused:?}");
            assert!(
                photos
                    .get(&FirmId::new("b"), &DocumentId::new("1"))
                    .await
                    .unwrap()
                    .is_none()
            );
            photos.delete(&firm, &DocumentId::new("1")).await.unwrap();
            photos.put(&firm, &DocumentId::new("2"), photo(99)).await.unwrap();
            assert_eq!(photos.get(&firm, &DocumentId::new("2")).await.unwrap(), Some(photo(99)));
            clock
                .sleep_until(clock.now() + HELD_FOR + Duration::from_millis(1))
                .await;
            photos.put(&firm, &DocumentId::new("3"), photo(10)).await.unwrap();
            assert!(photos.get(&firm, &DocumentId::new("2")).await.unwrap().is_none());
        });
    }

    #[test]
    fn tells_for_how_many_more_there_is_room() {
        let clock = VirtualClock::new(Timestamp::from_millis(0));
        let photos = MemoryPhotos::new(10 * USUAL_BYTES, Arc::new(clock.clone()));
        let firm = FirmId::new("a");
        assert_eq!(photos.room(), 10);
        clock.run(async {
            for number in 0..10 {
                let photo = Phi::new(Bytes::from(vec![0; USUAL_BYTES]));
                let document = DocumentId::new(number.to_string());
                photos.put(&firm, &document, photo).await.unwrap();
                assert_eq!(photos.room(), 9 - number);
            }
            clock
                .sleep_until(clock.now() + HELD_FOR + Duration::from_millis(1))
                .await;
            assert_eq!(photos.room(), 10, "what is held for too long goes");
        });
        // One is always let in where there is no other.
        assert_eq!(MemoryPhotos::new(10, Arc::new(clock)).room(), 1);
    }
}
