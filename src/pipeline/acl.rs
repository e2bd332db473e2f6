#![forbid(unsafe_code)]
//! Who may do what: identities of a connection, the check of a node's ACL, and what a client may store as one
//! (client-protocol §8; stock `ZooKeeperServer.checkACL`, `PrepRequestProcessor.fixupACL`, `ServerCnxn.authInfo`).
//!
//! Used by the sequencer for writes, with the identities the connection had when the request came in, and by the shards
//! for reads and for the filter on events, with those of the moment. Identities only ever grow.
//!
//! Schemes here: `world` and `auth` (built in), `digest`, `ip`. Every other scheme has no provider, as on a stock server
//! where none is configured: it authenticates nobody, is refused in a new ACL, and matches nobody in an old one.
//! Deliberately not here: `sasl` and `x509`, which come with their transports.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::digest::{self, DigestAlgorithm};
use super::ip;
use crate::base::constant_time;
use crate::base::limits::{ACL_ENTRIES_MAX, AUTH_BYTES_MAX, CONNECTION_IDENTITIES_MAX, FRAME_BYTES_MAX};
use crate::wire::jute::to_java_bytes;
use crate::wire::request::RawAcl;
use crate::wire::{Acl, ErrorCode, Id, perms};

const AUTH: &[u8] = b"auth";
const DIGEST: &[u8] = b"digest";
const IP: &[u8] = b"ip";
const SUPER: &[u8] = b"super";
const WORLD: &[u8] = b"world";

/// What the configuration says about access. The default is stock's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// `zookeeper.skipACL` = `yes`: everything is allowed, events are not filtered.
    pub skip_acl: bool,
    /// `None` when `zookeeper.DigestAuthenticationProvider.enabled` is false.
    pub digest: Option<DigestPolicy>,
    /// Schemes of which every connection must hold an identity before any request but auth and sasl; `None` when
    /// nothing is enforced (`zookeeper.enforce.auth.schemes`, `zookeeper.sessionRequireClientSASLAuth`).
    pub enforced: Option<Vec<Box<[u8]>>>,
}

/// Settings of the digest scheme.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DigestPolicy {
    /// `zookeeper.DigestAuthenticationProvider.digestAlg`.
    pub algorithm: DigestAlgorithm,
    /// `zookeeper.DigestAuthenticationProvider.superDigest`, `user:base64` as UTF-8. Never logged.
    pub super_digest: Option<Box<[u8]>>,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { skip_acl: false, digest: Some(DigestPolicy::default()), enforced: None }
    }
}

impl Policy {
    /// Whether a scheme has a provider: stock does not start when one named in `enforce.auth.schemes` has none.
    pub fn has_provider(&self, scheme: &[u8]) -> bool {
        Scheme::of(scheme, self).is_some()
    }
}

/// Who a connection is: a set in the order of arrival, the `ip` identity first. Cloning shares it, since every write
/// takes a copy along.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identities {
    list: Arc<[Id]>,
    is_super: bool,
}

/// The client did not prove who it says it is: answer AuthFailed and close.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("authentication failed")]
pub struct AuthFailed;

impl Identities {
    /// Of a connection just accepted from `address`, as [`ip::host_address`] prints it.
    pub fn of_peer(address: &str) -> Identities {
        Identities { list: Arc::new([Id::new("ip", address)]), is_super: false }
    }

    /// As another server found them: of a client of its own.
    pub fn of_list(list: Vec<Id>) -> Identities {
        let is_super = list.iter().any(|id| &*id.scheme == SUPER);
        Identities { list: list.into(), is_super }
    }

    /// Of nobody: internal requests.
    pub fn none() -> Identities {
        Identities { list: Arc::new([]), is_super: false }
    }

    /// All of them.
    pub fn list(&self) -> &[Id] {
        &self.list
    }

    /// Whether ACLs do not bind this connection.
    pub fn is_super(&self) -> bool {
        self.is_super
    }

    /// Adds what is not there yet. More than [`CONNECTION_IDENTITIES_MAX`] fail (reliability M48), and then none is
    /// added.
    pub fn add(&mut self, ids: Vec<Id>) -> Result<(), AuthFailed> {
        let mut list = self.list.to_vec();
        for id in ids {
            if !list.contains(&id) {
                list.push(id);
            }
        }
        if list.len() > CONNECTION_IDENTITIES_MAX {
            return Err(AuthFailed);
        }
        self.is_super = list.iter().any(|id| &*id.scheme == SUPER);
        self.list = list.into();
        Ok(())
    }

    /// What whoAmI lists: scheme and user of each identity (§4.18). Empty for schemes without a provider.
    pub fn who_am_i<'a>(&'a self, policy: &'a Policy) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.list.iter().map(|Id { scheme, id }| {
            let user = match Scheme::of(scheme, policy) {
                Some(Scheme::Digest(_)) => id.split(|&b| b == b':').next().unwrap_or_default(),
                Some(Scheme::Ip) => id,
                None => &[],
            };
            (&**scheme, user)
        })
    }
}

/// Schemes with a provider.
enum Scheme<'a> {
    Digest(&'a DigestPolicy),
    Ip,
}

impl<'a> Scheme<'a> {
    fn of(scheme: &[u8], policy: &'a Policy) -> Option<Scheme<'a>> {
        match scheme {
            DIGEST => policy.digest.as_ref().map(Scheme::Digest),
            IP => Some(Scheme::Ip),
            _ => None,
        }
    }

    /// Whether an ACL may hold this id.
    fn accepts(&self, id: &[u8]) -> bool {
        match self {
            Scheme::Digest(_) => digest::is_valid_id(id),
            Scheme::Ip => ip::is_valid_id(id),
        }
    }

    /// Whether `identity` is one that the ACL entry `id` means.
    fn matches(&self, identity: &[u8], id: &[u8]) -> bool {
        match self {
            Scheme::Digest(_) => constant_time::equal(identity, id),
            Scheme::Ip => ip::matches(identity, id),
        }
    }

    /// Whether an identity proves a person, so that `auth` in an ACL stands for it.
    fn authenticates(&self) -> bool {
        matches!(self, Scheme::Digest(_))
    }
}

/// Answers an auth packet: the identities that `auth` proves under `scheme`, or failure (§8.5). Null credentials are
/// `None`. A wrong digest password is no failure: it is another identity.
pub fn authenticate(
    scheme: Option<&[u8]>,
    auth: Option<&[u8]>,
    peer: &Identities,
    policy: &Policy,
) -> Result<Vec<Id>, AuthFailed> {
    match Scheme::of(scheme.ok_or(AuthFailed)?, policy).ok_or(AuthFailed)? {
        Scheme::Digest(policy) => {
            let auth = auth.filter(|auth| auth.len() <= AUTH_BYTES_MAX).ok_or(AuthFailed)?;
            let identity = digest::identity(auth, policy.algorithm);
            let mut ids = Vec::with_capacity(2);
            if policy.is_super(&identity) {
                ids.push(Id::new("super", ""));
            }
            ids.push(Id { scheme: DIGEST.into(), id: identity });
            Ok(ids)
        }
        // The address is known already, and the data are not looked at.
        Scheme::Ip => Ok(peer.list.iter().filter(|id| &*id.scheme == IP).cloned().collect()),
    }
}

/// Whether an auth packet names the user of the super digest: if it makes nobody super, it was a guess (reliability M49).
pub fn names_super(scheme: Option<&[u8]>, auth: Option<&[u8]>, policy: &Policy) -> bool {
    let user = |id: &[u8]| id.split(|&byte| byte == b':').next().unwrap_or_default().to_vec();
    let digest = policy.digest.as_ref().filter(|_| scheme == Some(DIGEST));
    let wanted = digest.and_then(|digest| digest.super_digest.as_deref());
    wanted.zip(auth).is_some_and(|(wanted, auth)| user(wanted) == user(auth))
}

/// [`authenticate`] and [`Identities::add`] in one: what a shard does with an auth packet.
pub fn add_auth(
    scheme: Option<&[u8]>,
    auth: Option<&[u8]>,
    identities: &mut Identities,
    policy: &Policy,
) -> Result<(), AuthFailed> {
    let ids = authenticate(scheme, auth, identities, policy)?;
    identities.add(ids)
}

impl DigestPolicy {
    fn is_super(&self, identity: &[u8]) -> bool {
        let Some(wanted) = self.super_digest.as_deref().and_then(to_java_bytes) else { return false };
        constant_time::equal(identity, &wanted)
    }
}

/// Whether `identities` may do any of `wanted` ([`perms`], joined with OR) to a node with the list `acls` (§8.2). An
/// empty list allows everything.
pub fn check(acls: &[Acl], wanted: i32, identities: &Identities, policy: &Policy) -> bool {
    // Almost every list begins with the entry that lets everyone in.
    if acls.first().is_none_or(|first| first.perms & wanted != 0 && first.is_world()) {
        return true;
    }
    policy.skip_acl || identities.is_super || acls.iter().any(|acl| admits(acl, wanted, identities, policy))
}

/// [`check`] for a list that may be the open one (`None`: world:anyone with all permissions).
pub fn check_or_open(acls: Option<&[Acl]>, wanted: i32, identities: &Identities, policy: &Policy) -> bool {
    match acls {
        Some(acls) => check(acls, wanted, identities, policy),
        None => wanted & perms::ALL != 0 || policy.skip_acl || identities.is_super,
    }
}

fn admits(acl: &Acl, wanted: i32, identities: &Identities, policy: &Policy) -> bool {
    if acl.perms & wanted == 0 {
        return false;
    }
    if acl.is_world() {
        return true;
    }
    let Some(scheme) = Scheme::of(&acl.id.scheme, policy) else { return false };
    identities.list.iter().any(|id| id.scheme == acl.id.scheme && scheme.matches(&id.id, &acl.id.id))
}

/// What create and setACL store for the list a client sent (§8.4): duplicates removed, `auth` replaced by the
/// connection's own identities, ids as Java writes them.
///
/// Errors: InvalidACL for a null or empty list, a null scheme, `auth` without an authenticated identity, a scheme without
/// a provider, an id its provider refuses or that is not UTF-8 (reliability M19), and a list that once expanded would
/// outgrow a frame or [`ACL_ENTRIES_MAX`] (M24); MarshallingError for a null id that is looked at.
pub fn fix_up(
    list: Option<&[RawAcl<'_>]>,
    identities: &Identities,
    policy: &Policy,
) -> Result<Vec<Acl>, ErrorCode> {
    let list = list.filter(|list| !list.is_empty()).ok_or(ErrorCode::InvalidAcl)?;
    let mut seen = BTreeSet::new();
    let mut room = FRAME_BYTES_MAX;
    let mut stored = Vec::with_capacity(list.len());
    let mut store = |acl: Acl| {
        let bytes = 12 + acl.id.scheme.len() + acl.id.id.len();
        room = room.checked_sub(bytes).ok_or(ErrorCode::InvalidAcl)?;
        if stored.len() == ACL_ENTRIES_MAX {
            return Err(ErrorCode::InvalidAcl);
        }
        stored.push(acl);
        Ok(())
    };
    for &RawAcl { perms, scheme, id } in list {
        if !seen.insert((perms, scheme, id)) {
            continue;
        }
        match (scheme.ok_or(ErrorCode::InvalidAcl)?, id) {
            (WORLD, None) => return Err(ErrorCode::MarshallingError),
            (WORLD, Some(b"anyone")) => store(Acl { perms, id: Id::new("world", "anyone") })?,
            (AUTH, _) => {
                let mut proven = identities
                    .list
                    .iter()
                    .filter(|id| Scheme::of(&id.scheme, policy).is_some_and(|scheme| scheme.authenticates()))
                    .peekable();
                proven.peek().ok_or(ErrorCode::InvalidAcl)?;
                proven.try_for_each(|id| store(Acl { perms, id: id.clone() }))?;
            }
            (scheme, id) => {
                let provider = Scheme::of(scheme, policy).ok_or(ErrorCode::InvalidAcl)?;
                let id = id.ok_or(ErrorCode::MarshallingError)?;
                let java = to_java_bytes(id).filter(|_| provider.accepts(id)).ok_or(ErrorCode::InvalidAcl)?;
                store(Acl { perms, id: Id { scheme: scheme.into(), id: java.into() } })?;
            }
        }
    }
    Ok(stored)
}

/// What getACL shows of `acls` to `identities` (§4.9): digests are hidden from whoever may not change the list. The
/// READ-or-ADMIN check comes before and is the caller's: `check(acls, READ | ADMIN, …)`.
pub fn shown_to(acls: &[Acl], identities: &Identities, policy: &Policy) -> Vec<Acl> {
    let mut shown = acls.to_vec();
    if !check(acls, perms::ADMIN, identities, policy) {
        for Acl { id: Id { scheme, id }, .. } in &mut shown {
            if let (DIGEST, Some(colon)) = (&**scheme, id.iter().position(|&b| b == b':')) {
                *id = [&id[..colon], b":x"].concat().into();
            }
        }
    }
    shown
}

/// Whether the connection may send requests at all (§8.6). `false`: answer SessionClosedRequireSaslAuth and close,
/// unless the request is auth or sasl.
pub fn is_admitted(identities: &Identities, policy: &Policy) -> bool {
    let Some(enforced) = &policy.enforced else { return true };
    identities.list.iter().any(|id| enforced.contains(&id.scheme))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::perms::{ADMIN, ALL, CREATE, READ, WRITE};

    const ALICE: &str = "alice:aYXlLOpEooaV1cRAvUL1fp9Qt7E=";

    fn acl(perms: i32, scheme: &str, id: &str) -> Acl {
        Acl { perms, id: Id::new(scheme, id) }
    }

    fn raw<'a>(perms: i32, scheme: &'a str, id: &'a str) -> RawAcl<'a> {
        RawAcl { perms, scheme: Some(scheme.as_bytes()), id: Some(id.as_bytes()) }
    }

    /// A loopback client that sent these digest credentials.
    fn client(auths: &[&str]) -> Identities {
        let mut identities = Identities::of_peer("127.0.0.1");
        for auth in auths {
            add_auth(Some(b"digest"), Some(auth.as_bytes()), &mut identities, &Policy::default())
                .expect("digest succeeds");
        }
        identities
    }

    fn with_super(digest: &str) -> Policy {
        let digest = DigestPolicy { super_digest: Some(digest.as_bytes().into()), ..DigestPolicy::default() };
        Policy { digest: Some(digest), ..Policy::default() }
    }

    #[test]
    fn a_list_admits_whom_it_names() {
        let policy = Policy::default();
        let (nobody, alice) = (client(&[]), client(&["alice:secret"]));
        let check_all = |acls: &[Acl], wanted, nobody_may, alice_may| {
            assert_eq!(check(acls, wanted, &nobody, &policy), nobody_may, "{acls:?} {wanted}");
            assert_eq!(check(acls, wanted, &alice, &policy), alice_may, "{acls:?} {wanted}");
        };
        check_all(&[], WRITE, true, true);
        check_all(&[Acl::open()], ALL, true, true);
        check_all(&[acl(READ, "world", "anyone")], WRITE, false, false);
        check_all(&[acl(READ, "world", "anyone")], READ | ADMIN, true, true);
        check_all(&[acl(ALL, "world", "someone")], READ, false, false);
        check_all(&[acl(ALL, "digest", ALICE)], CREATE, false, true);
        check_all(&[acl(READ, "digest", ALICE)], CREATE, false, false);
        check_all(&[acl(READ, "world", "anyone"), acl(WRITE, "digest", ALICE)], WRITE, false, true);
        check_all(&[acl(ALL, "digest", "alice:AAAA")], READ, false, false);
        check_all(&[acl(ALL, "ip", "127.0.0.0/8")], READ, true, true);
        check_all(&[acl(ALL, "ip", "10.0.0.0/8")], READ, false, false);
        check_all(&[acl(ALL, "sasl", "alice")], READ, false, false);
        check_all(&[acl(ALL, "super", "")], READ, false, false);
        check_all(&[acl(0, "world", "anyone")], READ, false, false);
        check_all(&[acl(!ALL, "world", "anyone")], READ, false, false);
    }

    #[test]
    fn the_open_list_needs_no_memory() {
        let (policy, nobody) = (Policy::default(), client(&[]));
        assert!(check_or_open(None, READ, &nobody, &policy));
        assert!(!check_or_open(Some(&[acl(WRITE, "world", "anyone")]), READ, &nobody, &policy));
    }

    #[test]
    fn skip_acl_and_super_pass_everywhere() {
        let closed = [acl(0, "world", "anyone")];
        assert!(!check(&closed, READ, &client(&["super:admin"]), &Policy::default()), "off unless set");
        assert!(check(&closed, READ, &client(&[]), &Policy { skip_acl: true, ..Policy::default() }));

        let policy = with_super("super:xQJmxLMiHGwaqBvst5y6rkB6HQs=");
        let mut root = client(&[]);
        add_auth(Some(b"digest"), Some(b"super:admim"), &mut root, &policy).expect("another identity");
        assert!(!root.is_super() && !check(&closed, READ, &root, &policy));
        add_auth(Some(b"digest"), Some(b"super:admin"), &mut root, &policy).expect("digest succeeds");
        assert!(root.is_super() && check(&closed, ALL, &root, &policy));
        let shown: Vec<_> = root.who_am_i(&policy).collect();
        let expected: [(&[u8], &[u8]); 4] =
            [(b"ip", b"127.0.0.1"), (b"digest", b"super"), (b"super", b""), (b"digest", b"super")];
        assert_eq!(shown, expected);
    }

    #[test]
    fn auth_packets_succeed_and_fail_as_in_stock() {
        let policy = Policy::default();
        let answer = |scheme: Option<&[u8]>, auth: Option<&[u8]>, policy: &Policy| {
            authenticate(scheme, auth, &client(&[]), policy)
        };
        assert_eq!(answer(Some(b"ip"), None, &policy), Ok(vec![Id::new("ip", "127.0.0.1")]));
        assert_eq!(
            answer(Some(b"digest"), Some(b"alice:secret"), &policy),
            Ok(vec![Id::new("digest", ALICE)])
        );
        assert!(answer(Some(b"digest"), Some(b"foo"), &policy).is_ok());
        assert!(answer(Some(b"digest"), Some(b""), &policy).is_ok());
        assert_eq!(answer(Some(b"digest"), None, &policy), Err(AuthFailed));
        assert!(answer(Some(b"digest"), Some(&vec![b'a'; AUTH_BYTES_MAX]), &policy).is_ok());
        assert_eq!(answer(Some(b"digest"), Some(&vec![b'a'; AUTH_BYTES_MAX + 1]), &policy), Err(AuthFailed));
        for scheme in ["world", "auth", "super", "sasl", "x509", "foo", "Digest", ""] {
            assert_eq!(answer(Some(scheme.as_bytes()), Some(b"a:b"), &policy), Err(AuthFailed), "{scheme}");
        }
        assert_eq!(answer(None, Some(b"a:b"), &policy), Err(AuthFailed));
        let without = Policy { digest: None, ..Policy::default() };
        assert_eq!(answer(Some(b"digest"), Some(b"a:b"), &without), Err(AuthFailed));
    }

    #[test]
    fn the_seventeenth_identity_fails_and_changes_nothing() {
        let policy = Policy::default();
        let mut identities = client(&[]);
        for n in 1..CONNECTION_IDENTITIES_MAX {
            let auth = format!("user{n}:p");
            add_auth(Some(b"digest"), Some(auth.as_bytes()), &mut identities, &policy).expect("room");
        }
        let full = identities.clone();
        assert_eq!(add_auth(Some(b"digest"), Some(b"one:more"), &mut identities, &policy), Err(AuthFailed));
        assert_eq!(identities, full);
        add_auth(Some(b"digest"), Some(b"user1:p"), &mut identities, &policy).expect("held already");
        assert_eq!(identities.list().len(), CONNECTION_IDENTITIES_MAX);
    }

    #[test]
    fn a_clients_list_is_stored_expanded_and_without_duplicates() {
        let policy = Policy::default();
        let alice = client(&["alice:secret"]);
        let both = client(&["alice:secret", "foo"]);
        let foo = "foo:C+7Hteo/D9vJXQ3UfzxbwnXaijM=";
        let check_stored = |who: &Identities, list: &[RawAcl<'_>], expected: &[Acl]| {
            assert_eq!(fix_up(Some(list), who, &policy).as_deref(), Ok(expected), "{list:?}");
        };
        check_stored(&alice, &[raw(31, "world", "anyone")], &[Acl::open()]);
        check_stored(&alice, &[raw(31, "auth", "")], &[acl(31, "digest", ALICE)]);
        check_stored(&alice, &[raw(31, "auth", "bob")], &[acl(31, "digest", ALICE)]);
        check_stored(
            &both,
            &[raw(3, "auth", ""), raw(3, "auth", ""), raw(1, "ip", "10.0.0.0/8"), raw(4, "auth", "")],
            &[
                acl(3, "digest", ALICE),
                acl(3, "digest", foo),
                acl(1, "ip", "10.0.0.0/8"),
                acl(4, "digest", ALICE),
                acl(4, "digest", foo),
            ],
        );
        // What comes out of the expansion is not compared again.
        check_stored(
            &alice,
            &[raw(31, "auth", "x"), raw(31, "auth", "y"), raw(31, "digest", ALICE)],
            &[acl(31, "digest", ALICE), acl(31, "digest", ALICE), acl(31, "digest", ALICE)],
        );
        // Odd permissions are kept, none at all too.
        check_stored(
            &alice,
            &[raw(-1, "world", "anyone"), raw(0, "world", "anyone")],
            &[acl(-1, "world", "anyone"), acl(0, "world", "anyone")],
        );
        let stored = fix_up(Some(&[raw(31, "digest", "\u{1f600}:x")]), &alice, &policy).expect("valid");
        assert_eq!(&*stored[0].id.id, b"\xed\xa0\xbd\xed\xb8\x80:x");
    }

    #[test]
    fn a_list_that_means_nothing_is_refused() {
        let policy = Policy::default();
        let nobody = client(&[]);
        let bytes =
            |scheme: Option<&'static [u8]>, id: Option<&'static [u8]>| RawAcl { perms: 31, scheme, id };
        assert_eq!(fix_up(None, &nobody, &policy), Err(ErrorCode::InvalidAcl));
        assert_eq!(fix_up(Some(&[]), &nobody, &policy), Err(ErrorCode::InvalidAcl));
        for (entry, expected) in [
            (raw(31, "auth", ""), ErrorCode::InvalidAcl),
            (raw(31, "world", "everyone"), ErrorCode::InvalidAcl),
            (raw(31, "digest", "alice"), ErrorCode::InvalidAcl),
            (raw(31, "ip", "10.0.0.0/33"), ErrorCode::InvalidAcl),
            (raw(31, "ip", "localhost"), ErrorCode::InvalidAcl),
            (raw(31, "super", ""), ErrorCode::InvalidAcl),
            (raw(31, "sasl", "alice"), ErrorCode::InvalidAcl),
            (raw(31, "x509", "CN=alice"), ErrorCode::InvalidAcl),
            (raw(31, "", ""), ErrorCode::InvalidAcl),
            (bytes(None, Some(b"anyone")), ErrorCode::InvalidAcl),
            (bytes(None, None), ErrorCode::InvalidAcl),
            (bytes(Some(b"foo"), None), ErrorCode::InvalidAcl),
            (bytes(Some(b"world"), None), ErrorCode::MarshallingError),
            (bytes(Some(b"digest"), None), ErrorCode::MarshallingError),
            (bytes(Some(b"ip"), None), ErrorCode::MarshallingError),
            (bytes(Some(b"digest"), Some(b"a\xff:b")), ErrorCode::InvalidAcl),
            (bytes(Some(b"wor\xffld"), Some(b"anyone")), ErrorCode::InvalidAcl),
        ] {
            let after_a_good_one = [raw(31, "world", "anyone"), entry];
            assert_eq!(fix_up(Some(&after_a_good_one), &nobody, &policy), Err(expected), "{entry:?}");
        }
        // A null id is not looked at where `auth` is replaced.
        assert!(fix_up(Some(&[bytes(Some(b"auth"), None)]), &client(&["a:b"]), &policy).is_ok());
    }

    #[test]
    fn expansion_cannot_outgrow_a_frame() {
        let policy = Policy::default();
        let long = format!("{}:p", "u".repeat(10_000));
        let who = client(&[&long]);
        let list: Vec<_> = (0..1000).map(|perms| raw(perms, "auth", "")).collect();
        assert!(fix_up(Some(&list[..50]), &who, &policy).is_ok());
        assert_eq!(fix_up(Some(&list), &who, &policy), Err(ErrorCode::InvalidAcl));
    }

    #[test]
    fn digests_are_hidden_from_whoever_may_not_change_the_list() {
        let policy = Policy::default();
        let list = [acl(ADMIN, "digest", ALICE), acl(READ, "world", "anyone"), acl(1, "ip", "::1")];
        let masked = [acl(ADMIN, "digest", "alice:x"), acl(READ, "world", "anyone"), acl(1, "ip", "::1")];
        assert_eq!(shown_to(&list, &client(&[]), &policy), masked);
        assert_eq!(shown_to(&list, &client(&["alice:secret"]), &policy), list);
        assert!(!check(&list[..1], READ | ADMIN, &client(&[]), &policy));
    }

    #[test]
    fn enforcement_wants_one_identity_of_a_named_scheme() {
        let policy = Policy { enforced: Some(vec![DIGEST.into()]), ..Policy::default() };
        assert!(!is_admitted(&client(&[]), &policy));
        assert!(is_admitted(&client(&["a:b"]), &policy));
        let by_address = Policy { enforced: Some(vec![IP.into()]), ..Policy::default() };
        assert!(is_admitted(&client(&[]), &by_address));
        assert!(!is_admitted(&client(&["a:b"]), &Policy { enforced: Some(vec![]), ..Policy::default() }));
        assert!(is_admitted(&Identities::none(), &Policy::default()));
        assert!(
            policy.has_provider(b"digest") && policy.has_provider(b"ip") && !policy.has_provider(b"sasl")
        );
    }

    #[test]
    fn who_am_i_shows_users_and_never_digests() {
        let policy = Policy::default();
        let who = client(&["alice:secret", ":p"]);
        let expected: [(&[u8], &[u8]); 3] = [(b"ip", b"127.0.0.1"), (b"digest", b"alice"), (b"digest", b"")];
        assert_eq!(who.who_am_i(&policy).collect::<Vec<_>>(), expected);
    }
}
