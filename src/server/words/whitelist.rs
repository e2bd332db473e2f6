#![forbid(unsafe_code)]
//! Which words are answered: `4lw.commands.whitelist` (operations §4.2; stock `FourLetterCommands`).

use super::Word;

/// The words that are answered; others are refused with a line of text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Whitelist {
    /// One bit a word, by its place in [`Word::ALL`].
    enabled: u32,
}

const _: () = assert!(Word::ALL.len() <= 32);

impl Default for Whitelist {
    /// `srvr` alone.
    fn default() -> Self {
        Whitelist { enabled: bit(Word::Srvr) }
    }
}

fn bit(word: Word) -> u32 {
    1 << word as u32
}

impl Whitelist {
    /// From the key's value: a comma list, `*` anywhere in it for all; names that are no word are ignored. `srvr` is
    /// always in, since zkServer.sh needs it; `isro` when the server may turn read-only, since clients then poll it.
    pub fn parse(list: Option<&str>, read_only_mode: bool) -> Whitelist {
        let mut whitelist = Whitelist::default();
        for name in list.unwrap_or("").split(',').map(str::trim) {
            for word in Word::ALL {
                if name == "*" || name == word.text() {
                    whitelist.enabled |= bit(*word);
                }
            }
        }
        if read_only_mode {
            whitelist.enabled |= bit(Word::Isro);
        }
        whitelist
    }

    /// Whether `word` is answered.
    pub fn allows(self, word: Word) -> bool {
        self.enabled & bit(word) != 0
    }
}
