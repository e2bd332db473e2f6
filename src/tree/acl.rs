#![forbid(unsafe_code)]
//! ACL lists, each kept once (stock `ReferenceCountedACLCache`): a record holds a number.
//!
//! Number 0 is the open list, which most znodes have; it is in no table and has no count. The others are counted by the
//! records that name them. A record stops counting only when its grace is over (a note of [`super::reclaim::Grace`]),
//! so a guarded reader always finds the list of a record it may look at. Numbers are local and are used again.
//!
//! Lives on: [`Lists`] on each shard, [`Interner`] on the sequencer.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::reclaim::{Link, Object, Owned, Retired, Token, Witness};
use super::record::ACL_NUMBERS;
use crate::wire::Acl;

/// The open list's number.
pub(super) const OPEN: u32 = 0;

/// `world:anyone` with all permissions.
pub fn open() -> &'static [Acl] {
    static OPEN_LIST: OnceLock<[Acl; 1]> = OnceLock::new();
    OPEN_LIST.get_or_init(|| [Acl::open()])
}

/// A list as readers find it.
pub(super) struct List(Arc<[Acl]>);

impl Object for List {
    type Extension = ();
}

/// Chunk k holds 64 << k lists: 24 chunks for all numbers, each made when the one before is full, none ever moved.
const CHUNKS: usize = (ACL_NUMBERS / 64).ilog2() as usize;
const FIRST_CHUNK: u32 = 64;

/// Number to list, for readers.
pub(super) struct Lists([OnceLock<Box<[Link<List>]>>; CHUNKS]);

impl Lists {
    /// No list but the open one.
    pub(super) fn new() -> Lists {
        Lists(std::array::from_fn(|_| OnceLock::new()))
    }

    /// The list of a record that the witness protects.
    pub(super) fn get<'a>(&'a self, number: u32, witness: Witness<'a>) -> &'a [Acl] {
        if number == OPEN {
            return open();
        }
        let (chunk, place) = place(number);
        let list = self.0[chunk].get().and_then(|chunk| chunk[place].load(witness));
        &list.expect("a record counts its list until its grace is over").head().0
    }

    fn slot(&self, number: u32) -> &Link<List> {
        let (chunk, place) = place(number);
        let new_chunk = || (0..FIRST_CHUNK << chunk).map(|_| Link::new(None)).collect();
        &self.0[chunk].get_or_init(new_chunk)[place]
    }
}

fn place(number: u32) -> (usize, usize) {
    let shifted = number - 1 + FIRST_CHUNK;
    let chunk = shifted.ilog2() - FIRST_CHUNK.ilog2();
    (chunk as usize, (shifted - (FIRST_CHUNK << chunk)) as usize)
}

/// List to number, and the counts; the writer's.
pub(super) struct Interner {
    numbers: HashMap<Arc<[Acl]>, u32, ahash::RandomState>,
    /// By number; of the open list unused.
    counts: Vec<u64>,
    free: Vec<u32>,
}

impl Interner {
    /// No list but the open one.
    pub(super) fn new(state: ahash::RandomState) -> Interner {
        Interner { numbers: HashMap::with_hasher(state), counts: vec![0], free: Vec::new() }
    }

    /// The number of `list`, counted once more. An empty list has a number too: it allows everything, but reads as
    /// empty.
    pub(super) fn intern(&mut self, lists: &Lists, token: &Token, list: &[Acl]) -> u32 {
        if list == open() {
            return OPEN;
        }
        if let Some(&number) = self.numbers.get(list) {
            self.counts[number as usize] += 1;
            return number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.counts.push(0);
            u32::try_from(self.counts.len() - 1).expect("fewer lists than memory holds")
        });
        assert!(number < ACL_NUMBERS - FIRST_CHUNK, "2^29 distinct ACL lists");
        let list: Arc<[Acl]> = list.into();
        let before = lists.slot(number).store(token, Some(Owned::new(List(Arc::clone(&list)), None, 0, &[])));
        debug_assert!(before.is_none(), "a free number has no list");
        self.numbers.insert(list, number);
        self.counts[number as usize] = 1;
        number
    }

    /// Counts the list of a record once more, for its successor.
    pub(super) fn keep(&mut self, number: u32) {
        if number != OPEN {
            self.counts[number as usize] += 1;
        }
    }

    /// Stops counting a record whose grace is over. Gives back the list that nobody names any more.
    #[must_use]
    pub(super) fn release(&mut self, lists: &Lists, token: &Token, number: u32) -> Option<Retired<List>> {
        if number == OPEN {
            return None;
        }
        let count = &mut self.counts[number as usize];
        debug_assert!(*count > 0, "a record was released twice");
        *count -= 1;
        if *count > 0 {
            return None;
        }
        let list = lists.slot(number).load(token.witness()).map(|list| Arc::clone(&list.head().0));
        if let Some(list) = list {
            self.numbers.remove(&list);
        }
        self.free.push(number);
        lists.slot(number).store(token, None)
    }

    /// Whether another list would be one more, and no more than `most` may be.
    pub(super) fn is_full_for(&self, list: &[Acl], most: usize) -> bool {
        self.numbers.len() >= most && list != open() && !self.numbers.contains_key(list)
    }

    /// Every list beside the open one, in no order.
    pub(super) fn lists(&self) -> impl Iterator<Item = &Arc<[Acl]>> {
        self.numbers.keys()
    }

    /// Distinct lists beside the open one, and how many records name them.
    pub(super) fn totals(&self) -> (usize, u64) {
        (self.numbers.len(), self.counts.iter().sum())
    }
}
