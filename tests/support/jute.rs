#![forbid(unsafe_code)]
//! Jute as client-protocol §1 has it: a writer, a reader and the records the tests look into.
//! An encoder and decoder of its own; nothing is shared with `ringkeeper::wire`.

/// Bytes on their way out; each method appends one field and returns the whole, so that a record reads as one chain.
#[derive(Clone, Default, Debug)]
pub struct Out(pub Vec<u8>);

/// An empty record.
pub fn out() -> Out {
    Out::default()
}

impl Out {
    pub fn byte(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }
    pub fn bool(self, value: bool) -> Self {
        self.byte(u8::from(value))
    }
    pub fn int(mut self, value: i32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    pub fn long(mut self, value: i64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }
    pub fn str(self, text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        self.int(text.len() as i32).bytes(text)
    }
    /// A null string, buffer or vector.
    pub fn null(self) -> Self {
        self.int(-1)
    }
    pub fn buffer(self, data: Option<&[u8]>) -> Self {
        match data {
            Some(data) => self.str(data),
            None => self.null(),
        }
    }
    pub fn strings<T: AsRef<[u8]>>(self, texts: &[T]) -> Self {
        texts.iter().fold(self.int(texts.len() as i32), |out, text| out.str(text))
    }
    pub fn acl(self, acl: &[Acl]) -> Self {
        acl.iter().fold(self.int(acl.len() as i32), |out, entry| {
            out.int(entry.perms).str(&entry.scheme).str(&entry.id)
        })
    }
    pub fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Bytes on their way in. A field that is not there panics: a reply that cannot be decoded fails its test.
pub struct In<'a>(pub &'a [u8]);

impl<'a> In<'a> {
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        assert!(self.0.len() >= count, "the record ends early: {count} bytes wanted, {} left", self.0.len());
        let (head, rest) = self.0.split_at(count);
        self.0 = rest;
        head
    }
    pub fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }
    pub fn int(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().unwrap())
    }
    pub fn long(&mut self) -> i64 {
        i64::from_be_bytes(self.take(8).try_into().unwrap())
    }
    pub fn buffer(&mut self) -> Option<Vec<u8>> {
        match self.int() {
            -1 => None,
            count => Some(self.take(usize::try_from(count).unwrap()).to_vec()),
        }
    }
    pub fn bytes(&mut self) -> Vec<u8> {
        self.buffer().expect("a string that is not null")
    }
    pub fn str(&mut self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }
    pub fn strings(&mut self) -> Vec<String> {
        (0..self.int()).map(|_| self.str()).collect()
    }
    pub fn acl(&mut self) -> Vec<Acl> {
        (0..self.int()).map(|_| Acl { perms: self.int(), scheme: self.bytes(), id: self.bytes() }).collect()
    }
    pub fn stat(&mut self) -> Stat {
        Stat {
            czxid: self.long(),
            mzxid: self.long(),
            ctime: self.long(),
            mtime: self.long(),
            version: self.int(),
            cversion: self.int(),
            aversion: self.int(),
            ephemeral_owner: self.long(),
            data_length: self.int(),
            num_children: self.int(),
            pzxid: self.long(),
        }
    }
    /// Ends a record that must have no bytes left.
    pub fn end(&self) {
        assert!(self.0.is_empty(), "{} bytes behind the record: {:02x?}", self.0.len(), self.0);
    }
}

/// The 68 bytes that describe a znode (client-protocol §5.1).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Stat {
    pub czxid: i64,
    pub mzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    pub cversion: i32,
    pub aversion: i32,
    pub ephemeral_owner: i64,
    pub data_length: i32,
    pub num_children: i32,
    pub pzxid: i64,
}

/// Bytes of an encoded [`Stat`].
pub const STAT_BYTES: usize = 68;

/// One entry of an access list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Acl {
    pub perms: i32,
    pub scheme: Vec<u8>,
    pub id: Vec<u8>,
}

pub const READ: i32 = 1;
pub const WRITE: i32 = 2;
pub const CREATE: i32 = 4;
pub const DELETE: i32 = 8;
pub const ADMIN: i32 = 16;
pub const ALL: i32 = 31;

pub fn acl(perms: i32, scheme: &str, id: impl AsRef<[u8]>) -> Acl {
    Acl { perms, scheme: scheme.as_bytes().to_vec(), id: id.as_ref().to_vec() }
}

/// `world:anyone` with these permissions, as a list of one.
pub fn world(perms: i32) -> Vec<Acl> {
    vec![acl(perms, "world", "anyone")]
}

/// The open list, `world:anyone` with everything.
pub fn open() -> Vec<Acl> {
    world(ALL)
}
