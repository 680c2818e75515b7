//! How soon after one refusal another goes out on the same connection.
//!
//! Whoever is refused and asks again at once would be answered as fast as a core can, and that core
//! has others to serve. The first refusal goes out at once, each further one a pause after the one
//! before; of several exchanges of a connection (HTTP/2) one after the other. A new connection for
//! each request passes by this: that costs a handshake each.

use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::task::yield_now;
use tokio::time::sleep;

use super::clock::Clock;
use super::ending::Ending;
use crate::guard::moment::Moment;

/// The refusals of one connection.
#[derive(Debug)]
pub struct Refusing {
    /// Before this none goes out. Whoever waits for that keeps it locked: the others stand in line.
    next: Mutex<Moment>,
    ending: watch::Receiver<Ending>,
}

impl Refusing {
    /// Of a connection that has had none.
    pub fn new(ending: watch::Receiver<Ending>) -> Self {
        Self { next: Mutex::new(Moment::from_nanos(0)), ending }
    }

    /// Waits until a refusal may go out: at once if the connection is to end.
    pub async fn turn(&self, clock: &Clock, pause: Duration) {
        if pause.is_zero() {
            return;
        }
        if let Ok(mut next) = self.next.try_lock() {
            let now = clock.now();
            if *next <= now {
                *next = after(pause, now);
                return;
            }
        }
        let mut ending = self.ending.clone();
        let waiting = async {
            let mut next = self.next.lock().await;
            sleep(next.since(clock.now())).await;
            *next = after(pause, clock.now());
        };
        let ended = async {
            let _ = ending.wait_for(|ending| *ending != Ending::Not).await;
        };
        // Boxed: few wait, and what that takes is not to be carried about by all.
        Box::pin(async {
            tokio::select! {
                biased;
                // The connection is to hear of it first: then its last answer says so.
                () = ended => yield_now().await,
                () = waiting => {}
            }
        })
        .await;
    }
}

/// A pause later, and up to half of one more, by chance: connections that began together would else
/// go on coming together, and everybody else stand in line behind them each time.
fn after(pause: Duration, now: Moment) -> Moment {
    // 2^64 by the golden ratio: moments next to each other come to lie far apart.
    let chance = now.as_nanos().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let half = (u128::from(chance) * (pause.as_nanos() / 2)) >> 32;
    now.after(pause).after(Duration::from_nanos(u64::try_from(half).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use tokio::time::timeout;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const LIMIT: Duration = Duration::from_secs(20);

    struct Rig {
        refusing: Refusing,
        clock: Clock,
        end: watch::Sender<Ending>,
    }

    impl Rig {
        fn new() -> Self {
            let (end, ending) = watch::channel(Ending::Not);
            Self { refusing: Refusing::new(ending), clock: Clock::start(), end }
        }

        fn turn(&self, pause: Duration) -> impl Future<Output = ()> {
            self.refusing.turn(&self.clock, pause)
        }
    }

    fn is_ready(turn: impl Future<Output = ()>) -> bool {
        pin!(turn).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test]
    async fn the_first_goes_out_at_once_and_the_others_each_a_pause_later() {
        let (rig, pause) = (Rig::new(), Duration::from_millis(20));
        let began = rig.clock.now();
        assert!(is_ready(rig.turn(pause)));
        let ended = async || {
            rig.turn(pause).await;
            rig.clock.now()
        };
        // Both ask at once, as streams of one connection do.
        let both = async { tokio::join!(ended(), ended()) };
        let (second, third) = timeout(LIMIT, both).await.expect("both have their turn");
        assert!(second.since(began) >= pause && third.since(second) >= pause);
    }

    #[tokio::test]
    async fn who_waits_no_longer_holds_nobody_up() {
        let rig = Rig::new();
        assert!(is_ready(rig.turn(Duration::from_millis(20))));
        {
            let mut gone = pin!(rig.turn(HOUR));
            assert!(gone.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert!(!is_ready(rig.turn(HOUR)), "it stands behind");
        }
        timeout(LIMIT, rig.turn(HOUR)).await.expect("only what went out counts");
    }

    #[tokio::test]
    async fn an_end_waits_for_nobody() {
        for ending in [Ending::Now, Ending::Gently] {
            let rig = Rig::new();
            assert!(is_ready(rig.turn(HOUR)));
            assert!(!is_ready(rig.turn(HOUR)));
            let waiting = async { tokio::join!(rig.turn(HOUR), rig.turn(HOUR)) };
            let told = async { rig.end.send_replace(ending) };
            let (..) = timeout(LIMIT, async { tokio::join!(waiting, told) }).await.expect("let go");
            timeout(LIMIT, rig.turn(HOUR)).await.expect("nor does who comes later");
        }
    }

    #[tokio::test]
    async fn no_pause_is_none() {
        let rig = Rig::new();
        assert!(is_ready(rig.turn(HOUR)));
        assert!(is_ready(rig.turn(Duration::ZERO)));
    }

    #[test]
    fn a_pause_is_at_most_half_as_long_again() {
        let pause = Duration::from_millis(100);
        for nanos in (0..1_000_000_000).step_by(7_654_321) {
            let now = Moment::from_nanos((1 << 60) + nanos);
            let span = after(pause, now).since(now);
            assert!(span >= pause && span < pause * 3 / 2, "{span:?}");
        }
    }

    /// 250 that are refused within a millisecond are not refused together again.
    #[test]
    fn who_comes_together_does_not_come_together_again() {
        let pause = Duration::from_millis(100);
        let mut each = [0; 50];
        for turn in 0..250_u64 {
            let now = Moment::from_nanos((1 << 60) + turn * 4_000);
            let late = after(pause, now).since(now.after(pause)).as_millis();
            each[usize::try_from(late).unwrap()] += 1;
        }
        assert!(each.iter().all(|many| (1..=20).contains(many)), "{each:?}");
    }
}
