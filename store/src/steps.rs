//! Much work in small steps, so that nobody else who writes waits for it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::StoreError;

/// Rows of the first step.
const FIRST: u32 = 256;
/// Those of the smallest and the largest one. What a commit waits for on a slow disk is the same for any number of
/// rows: with less than the smallest, what is forgotten would be less than what comes in.
const BOUNDS: (u32, u32) = (128, 8_192);
/// The longest pause: a server that is slow once need not be spared for minutes.
const LONGEST: Duration = Duration::from_secs(1);

/// How much of the database's time steps may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// How long a step is to take.
    step: Duration,
    /// After one there is a pause of so many times as long.
    pause: u32,
}

impl Pace {
    /// SQLite has one who writes, and CDRs are written in between.
    pub(crate) const SQLITE: Self = Self {
        step: Duration::from_millis(50),
        pause: 2,
    };
    /// PostgreSQL keeps nobody waiting for rows that nobody else wants.
    pub(crate) const POSTGRES: Self = Self {
        step: Duration::from_millis(200),
        pause: 1,
    };
}

/// Does `step` with so many rows at most, until it does less than that. Tells how many rows it did.
pub(crate) async fn in_steps<F, S>(pace: Pace, mut step: F) -> Result<u64, StoreError>
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
        size = next(size, took, pace.step);
        sleep((took * pace.pause).min(LONGEST)).await;
    }
}

/// The size of the step after one that took so long.
fn next(size: u32, took: Duration, wanted: Duration) -> u32 {
    let next = match took {
        took if took > wanted => size / 2,
        took if took < wanted / 2 => size * 2,
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
        let (left, sizes) = (RefCell::new(4_000_u64), RefCell::new(Vec::new()));
        let began = Instant::now();
        let all = in_steps(Pace::SQLITE, |size| {
            let mut left = left.borrow_mut();
            let done = (*left).min(size.into());
            *left -= done;
            sizes.borrow_mut().push(size);
            // Those of more than 512 rows take long.
            let took = Duration::from_millis(if size > 512 { 60 } else { 10 });
            async move {
                sleep(took).await;
                Ok(done)
            }
        });
        assert_eq!(all.await.unwrap(), 4_000);
        assert_eq!(*sizes.borrow(), [256, 512, 1_024, 512, 1_024, 512, 1_024]);
        assert_eq!(
            began.elapsed(),
            Duration::from_millis(4 * 30 + 2 * 180 + 60)
        );
        let refused = in_steps(Pace::SQLITE, async |_| Err(StoreError::Url(String::new())));
        assert!(refused.await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_on_which_nothing_is_quick_is_kept_up_with() {
        let left = RefCell::new(100_000_u64);
        let began = Instant::now();
        let all = in_steps(Pace::SQLITE, |size| {
            let mut left = left.borrow_mut();
            let done = (*left).min(size.into());
            *left -= done;
            // A commit waits for 100 ms, whatever is in it.
            async move {
                sleep(Duration::from_millis(100)).await;
                Ok(done)
            }
        });
        let all = all.await.unwrap();
        let rows = all / began.elapsed().as_secs();
        assert!(rows > 400, "{rows} rows a second");
    }
}
