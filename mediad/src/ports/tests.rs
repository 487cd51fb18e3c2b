use std::collections::HashSet;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// A pool that keeps no sockets.
fn bare(ports: RangeInclusive<u16>) -> PortPool {
    PortPool::new(&ports, 0)
}

fn on(address: IpAddr) -> Option<Kept> {
    Some(Kept { address, tos: 0 })
}

fn next(pool: &mut PortPool) -> Option<u16> {
    pool.take(HERE, 0).map(|taken| taken.port)
}

fn all(pool: &mut PortPool) -> HashSet<u16> {
    std::iter::from_fn(|| next(pool)).collect()
}

#[test]
fn pairs_are_even_and_within_the_range() {
    let mut pool = bare(20_001..=20_008);
    assert_eq!(pool.capacity(), 6);
    assert_eq!(all(&mut pool), [20_002, 20_004, 20_006].into());
    assert_eq!(pool.used(), 6);
}

#[test]
fn the_order_cannot_be_foretold_and_no_pair_comes_again_soon() {
    let mut pool = bare(10_000..=10_999);
    let orders: HashSet<Vec<u16>> = (0..8)
        .map(|_| {
            let taken: Vec<_> = (0..50).filter_map(|_| next(&mut pool)).collect();
            for port in &taken {
                assert!(!pool.give(*port, None, 0));
            }
            taken
        })
        .collect();
    assert_eq!(orders.len(), 8);
    let mut recent = VecDeque::new();
    for _ in 0..5000 {
        let port = next(&mut pool).unwrap();
        assert!(!recent.contains(&port), "{port}");
        recent.push_back(port);
        // All but the half that it is drawn from.
        if recent.len() > 249 {
            recent.pop_front();
        }
        assert!(!pool.give(port, None, 0));
    }
}

#[test]
fn a_certain_pair_can_be_had_once() {
    let mut pool = bare(100..=107);
    assert_eq!(pool.take_this(104).map(|taken| taken.port), Some(104));
    for port in [104, 105, 98, 108] {
        assert_eq!(pool.take_this(port), None, "{port}");
    }
    assert_eq!(all(&mut pool), [100, 102, 106].into());
    assert!(!pool.give(104, None, 0));
    assert_eq!(next(&mut pool), Some(104));
}

#[test]
fn sockets_are_kept_for_their_address_and_rest_first() {
    // As many as may be kept, and one more.
    let mut pool = PortPool::new(&(1000..=1129), 64);
    let kept = Some(Kept {
        address: HERE,
        tos: 184,
    });
    let ports: Vec<_> = (0..64).filter_map(|_| next(&mut pool)).collect();
    for port in &ports {
        assert!(pool.give(*port, kept, 1));
    }
    assert_eq!((pool.kept(), pool.used()), (128, 0));
    // They rest, and another one is free.
    let bare = pool.take(HERE, REST).unwrap();
    assert_eq!(bare.kept, None);
    assert!(!pool.give(bare.port, None, REST));
    // They have rested, and are of no use elsewhere.
    let elsewhere = pool.take(THERE, REST * 2).unwrap();
    assert_eq!(elsewhere.kept, None);
    assert!(!pool.give(elsewhere.port, None, REST * 2));
    let taken = pool.take(HERE, REST * 2).unwrap();
    assert_eq!(taken.kept, kept);
    assert_eq!(pool.kept(), 126);
}

#[test]
fn a_shard_with_few_calls_does_not_use_the_same_pairs_over_and_over() {
    for at_once in [2, 8] {
        let mut pool = PortPool::new(&(10_000..=10_999), 4096);
        let mut recent = VecDeque::new();
        for now in (0..4000).map(|second| second * 2_000_000_000) {
            while pool.forget_idle(now).is_some() {}
            let ports = (0..at_once).map(|_| pool.take(HERE, now).unwrap().port);
            for port in ports.collect::<Vec<_>>() {
                assert!(!recent.contains(&port), "{port} of {at_once} at {now}");
                recent.push_back(port);
                assert!(pool.give(port, on(HERE), now + 1));
            }
            // In so many rounds of two seconds a pair has rested.
            while recent.len() > 16 * at_once {
                recent.pop_front();
            }
        }
    }
}

#[test]
fn rest_and_address_do_not_matter_where_nothing_else_is_free() {
    let mut pool = PortPool::new(&(100..=103), 16);
    let ports: Vec<_> = (0..2).filter_map(|_| next(&mut pool)).collect();
    assert!(pool.give(ports[0], on(HERE), 5));
    assert_eq!(pool.take(HERE, 5).unwrap().port, ports[0]);
    assert!(pool.give(ports[0], on(HERE), 6));
    let taken = pool.take(THERE, 7).unwrap();
    assert_eq!(taken.kept, on(HERE), "to be closed");
    assert_eq!((pool.kept(), pool.used()), (0, 4));
    assert_eq!(pool.take(THERE, 8), None);
}

#[test]
fn no_more_are_kept_than_may_be_and_not_for_ever() {
    let mut pool = PortPool::new(&(100..=119), 4);
    let ports: Vec<_> = (0..6).filter_map(|_| next(&mut pool)).collect();
    let kept = ports.iter().map(|port| pool.give(*port, on(HERE), 10));
    assert_eq!(
        kept.collect::<Vec<_>>(),
        [true, true, true, true, false, false]
    );
    assert_eq!(pool.forget_idle(KEPT_FOR), None);
    assert_eq!(pool.forget_idle(10 + KEPT_FOR), Some(ports[0]));
    assert_eq!(pool.forget_any(), Some(ports[1]));
    assert_eq!(pool.kept(), 4);
    // What was closed is free like any other.
    assert_eq!(all(&mut pool).len(), 10);
    assert_eq!(pool.forget_any(), None);
}

#[test]
fn sockets_of_an_address_that_is_gone_are_closed_and_not_handed_out() {
    let mut pool = PortPool::new(&(100..=107), 16);
    let ports: Vec<_> = (0..4).filter_map(|_| next(&mut pool)).collect();
    for (port, address) in ports.iter().zip([HERE, THERE, HERE, THERE]) {
        assert!(pool.give(*port, on(address), 1));
    }
    pool.look_for(|address| address == HERE);
    assert_eq!(pool.forget_idle(2), Some(ports[1]));
    // Its pair is bare now; the other one's sockets are to be closed first.
    assert_eq!(pool.take(THERE, 2).unwrap().kept, None);
    assert_eq!(pool.take(THERE, 2).unwrap().kept, on(THERE));
    assert_eq!(pool.forget_idle(2), None);
    // It is back.
    assert!(pool.give(ports[3], on(THERE), 3));
    pool.look_for(|_| true);
    assert_eq!(pool.forget_idle(4), None);
    assert_eq!(pool.take(THERE, 3 + REST).unwrap().kept, on(THERE));
}

#[test]
fn many_that_are_kept_are_used_before_new_ones_are_made() {
    let mut pool = PortPool::new(&(10_000..=19_999), MANY);
    let ports: Vec<_> = (0..MANY).filter_map(|_| next(&mut pool)).collect();
    let (last, most) = ports.split_last().unwrap();
    for port in most {
        assert!(pool.give(*port, on(HERE), 1));
    }
    assert_eq!(pool.take(HERE, 2).unwrap().kept, None, "not that many yet");
    assert!(pool.give(*last, on(HERE), 1));
    for _ in 0..5000 {
        let taken = pool.take(HERE, 2).unwrap();
        assert_eq!(taken.kept, on(HERE));
        assert!(pool.give(taken.port, taken.kept, 2));
    }
}

#[test]
fn where_descriptors_are_few_no_more_are_kept_than_are_left() {
    let mut pool = PortPool::new(&(100..=499), 100);
    let ports: Vec<_> = (0..50).filter_map(|_| next(&mut pool)).collect();
    for port in &ports {
        assert!(pool.give(*port, on(HERE), 1));
    }
    assert_eq!(pool.forget_any(), Some(ports[0]));
    assert_eq!(pool.take(HERE, 2).unwrap().kept, None, "they rest even so");
    let bare = pool.take_this(ports[0]).unwrap();
    assert!(!pool.give(bare.port, on(HERE), 5), "as many as were left");
    pool.allow_more();
    let bare = pool.take_this(ports[0]).unwrap();
    assert!(pool.give(bare.port, on(HERE), 7));
}

#[test]
fn open_files_are_left_for_others() {
    assert_eq!(most_kept(1024, 2), 64);
    assert_eq!(most_kept(1 << 20, 2), MOST_KEPT);
    assert_eq!(most_kept(0, 0), 0);
}

proptest! {
    #[test]
    fn no_pair_is_lost_or_handed_out_twice(
        ops in prop::collection::vec(any::<u16>(), 1..400),
        most in 0_usize..20,
    ) {
        let mut pool = PortPool::new(&(100..=131), most);
        // What is held, and the sockets of what is free.
        let mut held: Vec<u16> = Vec::new();
        let mut sockets = std::collections::HashMap::new();
        for (now, op) in (0..).zip(ops) {
            let address = if op & 0x100 == 0 { HERE } else { THERE };
            let (what, which) = (op % 6, op / 512);
            match what {
                0 | 1 => match pool.take(address, now * REST / 3) {
                    Some(taken) => {
                        prop_assert!(!held.contains(&taken.port));
                        prop_assert_eq!(sockets.remove(&taken.port), taken.kept);
                        held.push(taken.port);
                    }
                    None => prop_assert_eq!(held.len(), 16),
                },
                2 => {
                    let port = 100 + which % 16 * 2;
                    match pool.take_this(port) {
                        Some(taken) => {
                            prop_assert!(!held.contains(&port));
                            prop_assert_eq!(sockets.remove(&port), taken.kept);
                            held.push(port);
                        }
                        None => prop_assert!(held.contains(&port)),
                    }
                }
                3 => if let Some(port) = pool.forget_any() {
                    prop_assert!(sockets.remove(&port).is_some());
                },
                _ => if !held.is_empty() {
                    let port = held.remove(usize::from(which) % held.len());
                    let kept = Kept { address, tos: 0 };
                    if pool.give(port, Some(kept), now * REST / 3) {
                        sockets.insert(port, kept);
                    }
                },
            }
            prop_assert_eq!(pool.used() as usize, held.len() * 2);
            prop_assert_eq!(pool.kept() as usize, sockets.len() * 2);
            prop_assert!(sockets.len() <= most);
        }
        let free = all(&mut pool).len();
        prop_assert_eq!(free + held.len(), 16);
    }

    #[test]
    fn parts_cover_the_range_in_order(first in 1024_u16..60_000, len in 4_u16..5000, shards in 1_u16..64) {
        let range = first..=first + len;
        let parts = split(&range, shards);
        prop_assert!(!parts.is_empty() && parts.len() <= usize::from(shards));
        let mut next = first.next_multiple_of(2);
        for part in &parts {
            prop_assert_eq!(*part.start(), next);
            prop_assert!(bare(part.clone()).capacity() >= 2);
            next = part.end() + 1;
        }
        prop_assert!(next >= first + len, "at most the odd port at the end is left over");
    }
}
