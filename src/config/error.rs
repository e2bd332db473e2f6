#![forbid(unsafe_code)]
//! Why a configuration is refused (exit status 2). Texts stock prints are stock's; each error names the file and the
//! line where there is one (reliability M65). Values of secret keys never enter an error.

use super::raw::Origin;

/// A refused configuration: where, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{cause}", place(origin))]
pub struct ConfigError {
    /// The line or flag at fault; [`Origin::Default`] when the fault is that something is missing.
    pub origin: Origin,
    /// What is wrong with it.
    pub cause: Cause,
}

impl ConfigError {
    /// An error at a place.
    pub fn new(origin: Origin, cause: Cause) -> ConfigError {
        ConfigError { origin, cause }
    }

    /// An error about something written nowhere.
    pub fn nowhere(cause: Cause) -> ConfigError {
        ConfigError { origin: Origin::Default, cause }
    }
}

fn place(origin: &Origin) -> String {
    match origin {
        Origin::Default => String::new(),
        written => format!("{written}: "),
    }
}

/// The causes, each with the offending key and value. Values are cut and escaped by whoever makes the error
/// ([`shown`]).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// `\u` without four hex digits.
    #[error("Malformed \\uxxxx encoding.")]
    MalformedEscape,
    /// A key whose value must be `true` or `false` (stock's text).
    #[error("Invalid option {value} for {key}. Choose 'true' or 'false.'")]
    NotBoolean { key: String, value: String },
    /// A key whose value must be a number.
    #[error("{key}: \"{value}\" is not a number")]
    NotNumber { key: String, value: String },
    /// A number that its key cannot take.
    #[error("{key}: {value} is out of range, {allowed}")]
    OutOfRange { key: String, value: String, allowed: String },
    /// A word that its key does not know.
    #[error("{key}: \"{value}\" is not one of {allowed}")]
    NotAChoice { key: String, value: String, allowed: &'static str },
    /// A path or a name that is empty.
    #[error("{key} is empty")]
    Empty { key: String },
    /// `dataDir` or `tickTime` missing (stock's text).
    #[error("{0} is not set")]
    NotSet(&'static str),
    /// An address without its port (stock's text).
    #[error("{address} is set but {port} is not set")]
    AddressWithoutPort { address: &'static str, port: &'static str },
    /// The limits of the session time-out cross (stock's text).
    #[error("minSessionTimeout must not be larger than maxSessionTimeout")]
    SessionTimeoutsCross,
    /// Stock's text.
    #[error("Invalid electionAlg value. Only 3 is supported.")]
    ElectionAlgorithm,
    /// Stock's text.
    #[error("Unrecognised peertype: {0}")]
    PeerType(String),
    /// One SASL switch of the quorum needs another (stock's text).
    #[error("{needed} is disabled, so cannot enable {asked}")]
    QuorumSasl { needed: &'static str, asked: &'static str },
    /// Membership in the static file beside a dynamic one (stock's text).
    #[error("parameter: {0} must be in a separate dynamic config file")]
    BelongsInDynamicFile(String),
    /// Anything else in a dynamic file (stock's text).
    #[error("Unrecognised parameter: {0}")]
    UnrecognisedParameter(String),
    /// A version line in a dynamic file (stock's text).
    #[error("dynamic file shouldn't have version inside")]
    VersionInside,
    /// `myid` holds something else than a number (stock's text).
    #[error("serverid {0} is not a number")]
    MyIdNotNumber(String),
    /// A `server.N` line that does not parse; `why` is stock's text.
    #[error("{key}: {why}")]
    ServerLine { key: String, why: String },
    /// Observers and nobody to observe (stock's text).
    #[error("Observers w/o participants is an invalid configuration")]
    OnlyObservers,
    /// One participant, observers, and `standaloneEnabled` (stock's text).
    #[error("Observers w/o quorum is an invalid configuration")]
    ObserversWithoutQuorum,
    /// `standaloneEnabled=false` and nobody to vote (stock's text).
    #[error("standaloneEnabled = false then number of participants should be >0")]
    NoParticipants,
    /// An ensemble, and nothing says which server this is.
    #[error("myid file is missing: dataDir/myid names the server line that is about this server")]
    MyIdMissing,
    /// `myid` names no server line (stock's text).
    #[error("My id {0} not in the peer list")]
    NotAMember(i64),
    /// TTL nodes leave 8 bits of a session id to the server (stock `EphemeralType.validateServerId`).
    #[error("with extendedTypesEnabled a server's id is at most 254, and myid says {0}")]
    MyIdTooLarge(i64),
    /// Groups or weights that do not fit the server lines; the text is stock's.
    #[error("{0}")]
    Groups(String),
    /// Client address of the server line and of the static keys differ (stock's text).
    #[error(
        "client address for this server (id = {id}) in static config file is {fixed} \
         is different from client address found in dynamic file: {dynamic}"
    )]
    ClientAddressConflict { id: i64, fixed: String, dynamic: String },
    /// `ssl.authProvider` names a scheme nobody registered (stock's text).
    #[error("No auth provider configured for the SSL authentication scheme '{0}'.")]
    NoSslAuthProvider(String),
    /// The configuration demands what this release cannot give.
    #[error(
        "{key} demands {what}, which this release does not have; starting without it would be less safe than asked"
    )]
    DemandsMissing { key: String, what: &'static str },
    /// Both client ports on one address.
    #[error("clientPort and secureClientPort are both {0}")]
    DuplicatePort(u16),
    /// `enforce.auth.enabled` without schemes (stock's text, doubled blank included).
    #[error("zookeeper.enforce.auth.enabled is true zookeeper.enforce.auth.schemes must be  configured.")]
    NoSchemes,
    /// A scheme that is not there (stock's text).
    #[error("Authentication scheme {0} is not available.")]
    UnknownScheme(String),
    /// A provider class that is nobody's we know.
    #[error(
        "{key}: authentication provider {class} is not known here; remove it, or set \
         ringkeeper.allowUnknownAuthProvider=true to start without it"
    )]
    UnknownAuthProvider { key: String, class: String },
    /// The hash of the digest scheme (stock's text, but for its end).
    #[error("don't support this ACL digest algorithm: {0}")]
    DigestAlgorithm(String),
}

/// A value as an error or a log line may show it: control characters escaped, cut at 256 bytes (reliability M47).
pub fn shown(value: &str) -> String {
    let mut text = String::new();
    for c in value.chars() {
        let before = text.len();
        if c.is_control() {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
        if text.len() > crate::base::limits::LOG_TEXT_BYTES_MAX {
            text.truncate(before);
            text.push('…');
            break;
        }
    }
    text
}
