//! Much work in small steps, so that nobody else who writes waits for it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::StoreError;

/// Rows of the first step, and of the smallest and the largest one.
const FIRST: u32 = 64;
const BOUNDS: (u32, u32) = (8, 2_048);
/// How long a step may take: SQLite has one who writes, and CDRs are written in between.
const STEP: Duration = Duration::from_millis(5);
/// After a step there is a pause of so many times as long.
const PAUSE: u32 = 4;
/// The longest pause: a server that is slow once need not be spared for minutes.
const LONGEST: Duration = Duration::from_secs(1);

/// Does `step` with so many rows at most, until it does less than that. Tells how many rows it did.
pub(crate) async fn in_steps<F, S>(mut step: F) -> Result<u64, StoreError>
where
    F: FnMut(u32) -> S,
    S: Future<Output = Result<u64, StoreError>>,
{
    let (mut all, mut size) = (0, FIRST);
    loop {
        let began = Instant::now();
        let done = step(size).await?;
        let took = began.elapsed();
        all += done;
        if done < u64::from(size) {
            return Ok(all);
        }
        size = next(size, took);
        sleep((took * PAUSE).min(LONGEST)).await;
    }
}

/// The size of the step after one that took so long.
fn next(size: u32, took: Duration) -> u32 {
    let next = match took {
        took if took > STEP => size / 2,
        took if took < STEP / 2 => size * 2,
        _ => size,
    };
    next.clamp(BOUNDS.0, BOUNDS.1)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn steps_grow_and_shrink_with_what_they_take_until_all_is_done() {
        let (left, sizes) = (RefCell::new(1_000_u64), RefCell::new(Vec::new()));
        let began = Instant::now();
        let all = in_steps(|size| {
            let mut left = left.borrow_mut();
            let done = (*left).min(size.into());
            *left -= done;
            sizes.borrow_mut().push(size);
            // Those of more than 128 rows take long.
            let took = Duration::from_millis(if size > 128 { 20 } else { 1 });
            async move {
                sleep(took).await;
                Ok(done)
            }
        });
        assert_eq!(all.await.unwrap(), 1_000);
        assert_eq!(*sizes.borrow(), [64, 128, 256, 128, 256, 128, 256]);
        assert_eq!(began.elapsed(), Duration::from_millis(4 * 5 + 2 * 100 + 20));
        let refused = in_steps(async |_| Err(StoreError::Url(String::new())));
        assert!(refused.await.is_err());
    }
}
