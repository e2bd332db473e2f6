#![forbid(unsafe_code)]
//! Operation numbers (stock `ZooDefs.OpCode`, `Request.isValid`).

macro_rules! op_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $label:literal;)*) => {
        /// What a request asks for; the numbers are stock's.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(i32)]
        pub enum OpCode { $($(#[$doc])* $name = $number),* }

        impl OpCode {
            /// Every operation, in the order of the table.
            pub const ALL: &'static [OpCode] = &[$(OpCode::$name),*];

            /// The operation with this number.
            pub fn from_i32(number: i32) -> Option<OpCode> {
                match number { $($number => Some(OpCode::$name),)* _ => None }
            }

            /// Stock's four-letter label in `cons` (`Request.op2String`'s short form).
            pub fn label(self) -> &'static str {
                match self { $(OpCode::$name => $label),* }
            }
        }
    };
}

op_codes! {
    /// Create a znode; answers the path.
    Create = 1, "CREA";
    /// Delete a znode.
    Delete = 2, "DELE";
    /// Does it exist, and its Stat.
    Exists = 3, "EXIS";
    /// Data and Stat.
    GetData = 4, "GETD";
    /// Replace the data.
    SetData = 5, "SETD";
    /// ACL and Stat.
    GetAcl = 6, "GETA";
    /// Replace the ACL.
    SetAcl = 7, "SETA";
    /// Names of the children.
    GetChildren = 8, "GETC";
    /// Catch up with the leader.
    Sync = 9, "SYNC";
    /// Keep the session.
    Ping = 11, "PING";
    /// Names of the children, and the Stat.
    GetChildren2 = 12, "GETC";
    /// Version check; only inside a multi.
    Check = 13, "CHEC";
    /// Several writes, all or nothing.
    Multi = 14, "MULT";
    /// Create a znode; answers path and Stat.
    Create2 = 15, "CREA";
    /// Change the membership.
    Reconfig = 16, "RECO";
    /// Is this watch set.
    CheckWatches = 17, "CHKW";
    /// Remove watches.
    RemoveWatches = 18, "REMW";
    /// Create a container.
    CreateContainer = 19, "CREA";
    /// Delete an empty container or TTL node; internal.
    DeleteContainer = 20, "DELE";
    /// Create a node with a time to live.
    CreateTtl = 21, "CREA";
    /// Several reads, each on its own.
    MultiRead = 22, "MLTR";
    /// Add an identity.
    Auth = 100, "AUTH";
    /// Re-arm watches after a reconnect.
    SetWatches = 101, "SETW";
    /// One step of a SASL exchange.
    Sasl = 102, "SASL";
    /// Ephemerals of this session.
    GetEphemerals = 103, "GETE";
    /// Number of descendants.
    GetAllChildrenNumber = 104, "GETACN";
    /// Re-arm watches, persistent ones too.
    SetWatches2 = 105, "STW2";
    /// Add a persistent watch.
    AddWatch = 106, "ADDW";
    /// Identities of this connection.
    WhoAmI = 107, "HOMI";
    /// Open a session; internal.
    CreateSession = -10, "SESS";
    /// Close the session.
    CloseSession = -11, "CLOS";
    /// A failed write in the log, a failed entry of a multi.
    Error = -1, "ERRO";
}

impl OpCode {
    /// Whether the operation makes a txn and so goes through the sequencer.
    pub fn is_write(self) -> bool {
        use OpCode::*;
        matches!(
            self,
            Create
                | Create2
                | CreateContainer
                | CreateTtl
                | Delete
                | DeleteContainer
                | SetData
                | SetAcl
                | Multi
                | Reconfig
                | CreateSession
                | CloseSession
        )
    }
}
