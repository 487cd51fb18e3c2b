//! The longest prefix of a number among one and two million, the time to build that, and its memory.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use signaling::{PrefixMap, PrefixMapBuilder};

/// What a route is in the node: 16 bytes.
type Value = [u32; 4];

/// A sequence that is the same in each run (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// So many digits as a carrier's rate deck has: 4 to 9.
    fn prefix(&mut self) -> String {
        let number = self.number();
        let digits = 4 + usize::try_from(self.next() % 6).unwrap_or(0);
        number[..=digits].to_owned()
    }

    fn number(&mut self) -> String {
        format!("+{:013}", self.next() % 10_u64.pow(13))
    }
}

fn prefixes(count: usize) -> Vec<String> {
    let mut numbers = Numbers(7);
    (0..count).map(|_| numbers.prefix()).collect()
}

fn builder(prefixes: &[String]) -> PrefixMapBuilder<Value> {
    let mut builder = PrefixMapBuilder::default();
    for prefix in prefixes {
        builder.push(prefix, [0; 4]);
    }
    builder
}

fn route_lpm(criterion: &mut Criterion) {
    for count in [1_000_000, 2_000_000] {
        let prefixes = prefixes(count);
        let map: PrefixMap<Value> = builder(&prefixes).build();
        eprintln!(
            "route_lpm: {count} routes take {:.1} MB, {:.1} bytes each",
            map.bytes() as f64 / 1e6,
            map.bytes() as f64 / count as f64
        );
        let mut numbers = Numbers(11);
        let asked: Vec<_> = (0..1 << 16).map(|_| numbers.number()).collect();
        let mut at = 0;
        criterion.bench_function(&format!("route_lpm/find in {count}"), |bencher| {
            bencher.iter(|| {
                at = (at + 1) % asked.len();
                black_box(map.matches(black_box(&asked[at])).next())
            });
        });
        let mut group = criterion.benchmark_group("route_lpm");
        group.sample_size(10);
        group.bench_function(format!("build {count}"), |bencher| {
            bencher.iter_batched(
                || builder(&prefixes),
                |builder| black_box(builder.build()),
                BatchSize::LargeInput,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, route_lpm);
criterion_main!(benches);
