//! The deterministic part of a target's run: its corpus, and mutations of it from a fixed seed.

use std::path::Path;

/// Mutations of the corpus in one run of the tests: about a tenth of a second a target.
const MUTATIONS: u64 = 4000;

/// Inputs of bolero's own in one run of the tests.
pub(crate) const BOLERO_ITERATIONS: usize = 512;

/// Steele, Lea and Flood's SplitMix64: small, and the same everywhere.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

const BLOCK_BYTES: usize = 4096;
const HEADER_BYTES: usize = 192;

/// Lengths and counts that decoders get wrong.
const LENGTHS: [i32; 9] = [-1, -2, i32::MIN, i32::MAX, 0, 1, 0xffff, 0xf_ffff, 0x1000_0000];

fn mutate(corpus: &[Vec<u8>], rng: &mut SplitMix) -> Vec<u8> {
    let mut input = corpus[rng.below(corpus.len())].clone();
    for _ in 0..=rng.below(4) {
        let mut at = rng.below(input.len());
        // Files are blocks of headers and zeros: half of the changes go where the headers are.
        if input.len() > BLOCK_BYTES && rng.below(2) == 0 {
            at = at / BLOCK_BYTES * BLOCK_BYTES + at % HEADER_BYTES;
            at = at.min(input.len() - 1);
        }
        match rng.below(6) {
            0 if !input.is_empty() => input[at] ^= 1 << rng.below(8),
            1 if !input.is_empty() => input[at] = rng.next() as u8,
            2 => input.truncate(at),
            3 if input.len() >= at + 4 => {
                let length = LENGTHS[rng.below(LENGTHS.len())];
                input[at..at + 4].copy_from_slice(&length.to_be_bytes());
            }
            4 => {
                let chunk = input[at..].to_vec();
                input.splice(at..at, chunk);
            }
            _ => {
                let other = &corpus[rng.below(corpus.len())];
                let from = rng.below(other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
    input
}

/// Runs `property` over the corpus of `target`, what was `made` for it, and mutations of both.
pub(crate) fn replay(target: &str, made: Vec<Vec<u8>>, property: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/__fuzz__").join(target).join("corpus");
    let mut files: Vec<_> =
        std::fs::read_dir(&dir).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let corpus: Vec<_> = files.iter().map(|file| std::fs::read(file).unwrap()).chain(made).collect();
    assert!(!corpus.is_empty(), "{target} has no corpus");
    corpus.iter().for_each(|input| property(input));
    for seed in 0..MUTATIONS {
        let input = mutate(&corpus, &mut SplitMix(seed));
        let result = std::panic::catch_unwind(|| property(&input));
        if let Err(panic) = result {
            let hex: String = input.iter().take(512).map(|byte| format!("{byte:02x}")).collect();
            eprintln!("{target}: mutation {seed} of the corpus fails, {} bytes: {hex}", input.len());
            std::panic::resume_unwind(panic);
        }
    }
}
