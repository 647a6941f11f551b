//! Waiting for one thing while others go on.

use std::{future::Future, pin::pin};

use futures::{Stream, StreamExt as _};

/// What `step` gives. What is `running` is driven meanwhile, and each that ends is handed to `ended`.
///
/// A loop that waits for a slow store by itself leaves what it has begun undriven: an answer lies unread, and a step goes on past
/// the end of its lease, since nobody looks at the clock for it.
pub(super) async fn meanwhile<R, T>(running: &mut R, mut ended: impl FnMut(R::Item), step: impl Future<Output = T>) -> T
where
    R: Stream + Unpin,
{
    let mut step = pin!(step);
    loop {
        tokio::select! {
            biased;
            given = &mut step => return given,
            Some(item) = running.next() => ended(item),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, future::BoxFuture, stream::FuturesUnordered};
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn what_is_running_goes_on_while_a_step_waits() {
        let done = Notify::new();
        let mut running: FuturesUnordered<BoxFuture<'_, u32>> = FuturesUnordered::new();
        running.push(async { 1 }.boxed());
        running.push(
            async {
                tokio::task::yield_now().await;
                done.notify_one();
                2
            }
            .boxed(),
        );
        let mut ended = Vec::new();
        // Were nothing driven meanwhile, the step would wait for ever.
        meanwhile(&mut running, |number| ended.push(number), done.notified()).await;
        assert!(ended.contains(&1));
        assert_eq!(
            meanwhile(&mut FuturesUnordered::<BoxFuture<'_, ()>>::new(), drop, async { 3 }).await,
            3
        );
    }
}
