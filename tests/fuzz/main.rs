//! Fuzz targets that also run as plain tests on stable Rust. The property is the same for each: whatever the bytes,
//! no panic, and memory within a stated multiple of the input (reliability: what a client sends may cost it a
//! connection, never us the server).
//!
//! As a test, a target replays its corpus, then a few thousand mutations of it drawn from a fixed seed, then a few
//! hundred inputs of bolero's own; bolero prints the seed of one that fails. With cargo-bolero the same targets run
//! under a coverage-guided engine: `cargo bolero test --test fuzz -e libfuzzer request_frame`.
//! `__fuzz__/<target>/corpus` holds the inputs to start from; an input that once failed is added there.
//!
//! One module a folder of `src`: what is not here has no decoder yet.
// Tests say what they expect by unwrapping; clippy's own exemption ends at `#[test]` functions.
#![allow(clippy::unwrap_used)]

mod base;
mod config;
mod counting;
mod replay;
mod storage;
mod wire;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// Declares a target: its name is also that of its corpus. Inputs too large or too intricate to be files are made by
/// the expression after `from`.
macro_rules! target {
    ($(#[$doc:meta])* $name:ident, $property:expr) => {
        $crate::target!($(#[$doc])* $name from Vec::new(), $property);
    };
    ($(#[$doc:meta])* $name:ident from $made:expr, $property:expr) => {
        $(#[$doc])*
        #[test]
        fn $name() {
            let property: fn(&[u8]) = $property;
            $crate::replay::replay(stringify!($name), $made, property);
            bolero::check!(name = stringify!($name))
                .with_iterations($crate::replay::BOLERO_ITERATIONS)
                .for_each(|input: &[u8]| property(input));
        }
    };
}
pub(crate) use target;
