#![forbid(unsafe_code)]
//! Which znode a request is for: paths, and how often each is chosen.
//!
//! Keys live a hundred (or `--fan`) to a folder, so that a listing has a size one would meet:
//! `/loadgen/d000012/k00000001234`.

use rand::Rng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution as _, Zipf};

/// How the keys of requests are spread.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Distribution {
    /// Each key as often as any other.
    Uniform,
    /// The nth most wanted key in proportion to n^-exponent. Hot keys lie scattered over the folders.
    Zipf(f64),
}

impl std::str::FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value))) {
            ("uniform", None) => Ok(Distribution::Uniform),
            ("zipf", None) => Ok(Distribution::Zipf(0.99)),
            ("zipf", Some(exponent)) => match exponent.parse::<f64>() {
                Ok(exponent) if exponent.is_finite() && exponent > 0.0 => Ok(Distribution::Zipf(exponent)),
                _ => Err(format!("the exponent of zipf is a number above 0, not {exponent:?}")),
            },
            _ => Err(format!("{text:?} is neither uniform nor zipf nor zipf=EXPONENT")),
        }
    }
}

impl std::fmt::Display for Distribution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Distribution::Uniform => f.write_str("uniform"),
            Distribution::Zipf(exponent) => write!(f, "zipf={exponent}"),
        }
    }
}

/// Where the keys are: `count` znodes, `fan` to a folder, below `root`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Absolute, without a slash at its end.
    pub root: String,
    /// How many keys.
    pub count: u64,
    /// How many in one folder, at least 1.
    pub fan: u64,
}

impl Layout {
    /// How many folders.
    pub fn folders(&self) -> u64 {
        self.count.div_ceil(self.fan).max(1)
    }

    /// Path of a folder.
    pub fn folder(&self, folder: u64) -> String {
        format!("{}/d{folder:06}", self.root)
    }

    /// Path of a key.
    pub fn key(&self, key: u64) -> String {
        format!("{}/d{:06}/k{key:011}", self.root, key / self.fan)
    }

    /// Path of the nth znode that a create of thread `thread` makes in a run.
    pub fn fresh(&self, run: u32, thread: usize, nth: u64) -> String {
        format!("{}/d{:06}/n{run:08x}-{thread}-{nth}", self.root, nth % self.folders())
    }

    /// Where the sequential ephemerals of the mix go.
    pub fn ephemerals(&self) -> String {
        format!("{}/ephemerals", self.root)
    }
}

/// Chooses keys.
#[derive(Clone, Debug)]
pub struct Chooser {
    count: u64,
    zipf: Option<Zipf<f64>>,
    factor: u64,
}

impl Chooser {
    /// Chooses among `count` keys, at least one.
    pub fn new(distribution: Distribution, count: u64) -> Chooser {
        assert!(count > 0, "there is a key to choose");
        let zipf = match distribution {
            Distribution::Uniform => None,
            Distribution::Zipf(exponent) => {
                Some(Zipf::new(count as f64, exponent).expect("count and exponent were checked"))
            }
        };
        Chooser { count, zipf, factor: scatter_factor(count) }
    }

    /// The next key, below the count.
    pub fn choose(&self, random: &mut SmallRng) -> u64 {
        match &self.zipf {
            None => random.random_range(0..self.count),
            Some(zipf) => scatter(zipf.sample(random) as u64 - 1, self.count, self.factor),
        }
    }
}

/// A number prime to the count, near its golden ratio: multiples of it send neighbours far apart.
fn scatter_factor(count: u64) -> u64 {
    let mut factor = (count as f64 * 0.618_033_988_749_895) as u64 | 1;
    while gcd(factor, count) != 1 {
        factor += 1;
    }
    factor
}

/// A permutation of `0..count`.
fn scatter(rank: u64, count: u64, factor: u64) -> u64 {
    (u128::from(rank.min(count - 1)) * u128::from(factor) % u128::from(count)) as u64
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn scattering_is_a_permutation() {
        for count in [1, 2, 3, 10, 1000, 1009, 10_000] {
            let mut seen: Vec<u64> =
                (0..count).map(|rank| scatter(rank, count, scatter_factor(count))).collect();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..count), "{count}");
        }
    }

    #[test]
    fn a_zipf_choice_prefers_few_keys_and_a_uniform_one_none() {
        let share_of_the_hottest = |distribution| {
            let chooser = Chooser::new(distribution, 1000);
            let mut random = SmallRng::seed_from_u64(1);
            let mut counts = [0u32; 1000];
            (0..100_000).for_each(|_| counts[chooser.choose(&mut random) as usize] += 1);
            *counts.iter().max().unwrap()
        };
        // 1/H(1000) at exponent 1 is 13 %; uniform is 0.1 %.
        assert!((11_000..16_000).contains(&share_of_the_hottest(Distribution::Zipf(1.0))));
        assert!((100..200).contains(&share_of_the_hottest(Distribution::Uniform)));
    }

    #[test]
    fn distributions_are_read_as_they_are_written() {
        for text in ["uniform", "zipf=0.99", "zipf=1.5"] {
            assert_eq!(text.parse::<Distribution>().unwrap().to_string(), text);
        }
        assert_eq!("zipf".parse(), Ok(Distribution::Zipf(0.99)));
        for wrong in ["", "zip", "zipf=0", "zipf=x", "uniform=1", "zipf=inf"] {
            assert!(wrong.parse::<Distribution>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_key_lies_in_a_folder_that_is_made() {
        let layout = Layout { root: "/l".to_owned(), count: 250, fan: 100 };
        assert_eq!(layout.folders(), 3);
        assert_eq!(layout.key(249), "/l/d000002/k00000000249");
        assert!(layout.key(249).starts_with(&layout.folder(2)));
        assert!(layout.fresh(7, 1, 5).starts_with(&layout.folder(2)));
    }
}
