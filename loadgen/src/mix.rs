#![forbid(unsafe_code)]
//! What is asked for, and in which proportion.

use rand::Rng;
use rand::rngs::SmallRng;

/// A kind of request; each has a histogram of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(usize)]
pub enum Kind {
    /// create of a fresh znode.
    Create,
    /// delete of the oldest znode that a create of this connection made. With none at hand a create goes out instead.
    Delete,
    /// setData of a key.
    Set,
    /// getData of a key.
    Get,
    /// exists of a key.
    Exists,
    /// getChildren of a key's folder.
    List,
    /// multi of several setData.
    Multi,
    /// create of a sequential ephemeral.
    Ephemeral,
}

impl Kind {
    /// All kinds, at their own index.
    pub const ALL: [Kind; 8] = [
        Kind::Create,
        Kind::Delete,
        Kind::Set,
        Kind::Get,
        Kind::Exists,
        Kind::List,
        Kind::Multi,
        Kind::Ephemeral,
    ];

    /// The word for it in mixes and results.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Create => "create",
            Kind::Delete => "delete",
            Kind::Set => "set",
            Kind::Get => "get",
            Kind::Exists => "exists",
            Kind::List => "list",
            Kind::Multi => "multi",
            Kind::Ephemeral => "ephemeral",
        }
    }

    /// Whether it changes the tree.
    pub fn is_write(self) -> bool {
        !matches!(self, Kind::Get | Kind::Exists | Kind::List)
    }
}

/// Mixes known by name, for `replay` and wherever a mix is asked for.
pub const NAMED: [(&str, &str, &str); 4] = [
    ("default", "get=2,set=1", "two reads to one write"),
    ("read", "get=1", "reads alone"),
    ("write", "set=1", "writes alone"),
    ("raftkeeper", "create=1,set=8,get=45,list=45,delete=1", "the mix published with RaftKeeper's benchmark"),
];

/// Weights of the kinds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mix {
    weights: [u32; Kind::ALL.len()],
    total: u32,
}

impl Mix {
    /// Draws a kind.
    pub fn choose(&self, random: &mut SmallRng) -> Kind {
        let mut ticket = random.random_range(0..self.total);
        for (kind, weight) in Kind::ALL.into_iter().zip(self.weights) {
            if ticket < weight {
                return kind;
            }
            ticket -= weight;
        }
        unreachable!("the weights sum to the total")
    }

    /// Whether the kind occurs.
    pub fn has(&self, kind: Kind) -> bool {
        self.weights[kind as usize] > 0
    }
}

impl std::str::FromStr for Mix {
    type Err = String;

    /// `KIND=WEIGHT,…` or the name of one of [`NAMED`].
    fn from_str(text: &str) -> Result<Self, String> {
        let text = NAMED.iter().find(|(name, ..)| *name == text).map_or(text, |(_, mix, _)| mix);
        let mut weights = [0u32; Kind::ALL.len()];
        for part in text.split(',') {
            let (word, weight) = part.split_once('=').unwrap_or((part, "1"));
            let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.word() == word.trim()) else {
                let known: Vec<_> = Kind::ALL.iter().map(|kind| kind.word()).collect();
                let named: Vec<_> = NAMED.iter().map(|(name, ..)| *name).collect();
                return Err(format!(
                    "{word:?} is no operation ({}) and no named mix ({})",
                    known.join(" "),
                    named.join(" ")
                ));
            };
            let weight: u32 = weight.trim().parse().map_err(|_| format!("{part:?}: not a weight"))?;
            let slot = &mut weights[kind as usize];
            *slot = slot.checked_add(weight).ok_or("weights too large")?;
        }
        let total = weights.iter().try_fold(0u32, |sum, weight| sum.checked_add(*weight));
        match total {
            Some(0) => Err("every weight of the mix is 0".to_owned()),
            Some(total) => Ok(Mix { weights, total }),
            None => Err("weights too large".to_owned()),
        }
    }
}

impl std::fmt::Display for Mix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = Kind::ALL.iter().zip(self.weights).filter(|(_, weight)| *weight > 0);
        let parts: Vec<_> = parts.map(|(kind, weight)| format!("{}={weight}", kind.word())).collect();
        f.write_str(&parts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_mix_is_drawn_in_its_proportions() {
        let mix: Mix = "get=2,set=1".parse().unwrap();
        let mut random = SmallRng::seed_from_u64(3);
        let gets = (0..30_000).filter(|_| mix.choose(&mut random) == Kind::Get).count();
        assert!((19_500..20_500).contains(&gets), "{gets}");
        assert!(mix.has(Kind::Set) && !mix.has(Kind::Create));
    }

    #[test]
    fn named_mixes_are_read_and_written() {
        for (name, text, _) in NAMED {
            assert_eq!(name.parse::<Mix>(), text.parse::<Mix>(), "{name}");
        }
        let published: Mix = "raftkeeper".parse().unwrap();
        assert_eq!(
            (published.total, published.to_string().as_str()),
            (100, "create=1,delete=1,set=8,get=45,list=45")
        );
    }

    #[test]
    fn a_wrong_mix_is_refused_with_the_words_there_are() {
        for wrong in
            ["", "read=1,get=2", "get=x", "get=0", "get=-1", "get=4294967295,set=1", "get=4294967295,get=1"]
        {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
        assert!("put".parse::<Mix>().unwrap_err().contains("raftkeeper"));
    }

    #[test]
    fn every_kind_is_at_its_own_index() {
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
        }
    }
}
