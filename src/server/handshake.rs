#![forbid(unsafe_code)]
//! The handshake and authentication (client-protocol §2, §8.5; stock `ZooKeeperServer.processConnectRequest`,
//! `processPacket`).
//!
//! Lives on: each shard; the sequencer decides about sessions.

use super::connection::{Attachment, Phase};
use super::serving::newest_of;
use super::shard::Shard;
use crate::base::{ConnectionId, Generation, Millis, SessionId, limits};
use crate::pipeline::acl;
use crate::runtime::messages::{AttachRequest, Serving, Submission};
use crate::sessions::password;
use crate::tree::View;
use crate::wire::connect::{ConnectRequest, ConnectResponse};
use crate::wire::jute::Writer;
use crate::wire::reply;
use crate::wire::request::Request;
use crate::wire::{ErrorCode, OpCode};

impl Shard {
    /// The first frame of a connection.
    pub(super) fn handshake(&mut self, id: ConnectionId, frame: &[u8], view: &View<'_>) {
        let Ok(request) = ConnectRequest::decode(frame) else { return self.abort(id) };
        let renewal = request.session_id != 0;
        if let Some(gate) = self.registry.connects() {
            let Some(deficit) = gate.admit(renewal, self.clock.now()) else {
                // No line of the log for each: they come in crowds, and are counted.
                self.metrics.connection_rejected();
                return self.abort(id);
            };
            self.metrics.token_deficit(deficit);
        }
        let peer = self.connections.get(&id).map(|connection| connection.peer.ip());
        if let (false, Some(gate), Some(peer)) = (renewal, &self.registry.rates.creations, peer)
            && !gate.admit(peer, self.clock.now())
        {
            self.metrics.connection_rejected();
            return self.abort(id);
        }
        self.metrics.connect_request(renewal);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if self.serving == Serving::ReadOnly && request.read_only != Some(true) {
            // In crowds as well, until the ensemble is back.
            tracing::debug!(peer = %connection.peer, "closing a client that does not ask for reads alone");
            return self.abort(id);
        }
        if request.last_zxid_seen > newest_of(self.serving, view.at()).0 {
            // The client has seen more than this server: it is to try another one (§2.4, step 3).
            tracing::info!(
                peer = %connection.peer,
                seen = format_args!("0x{:x}", request.last_zxid_seen),
                ours = %view.at(),
                "refusing a client that has seen later changes than this server"
            );
            return self.abort(id);
        }
        let asked = u32::try_from(request.timeout).unwrap_or(0);
        let timeout_ms = asked.max(self.settings.timeout_ms_min).min(self.settings.timeout_ms_max);
        connection.phase = Phase::Attaching { read_only_byte: request.read_only.is_some() };
        // The clock of the session runs from here on (rule 8); without one the connection is no longer closed for
        // silence.
        self.fresh.remove(id);
        let attach = AttachRequest {
            connection: id,
            session: SessionId(request.session_id),
            password: request.password.unwrap_or_default().into(),
            timeout_ms,
        };
        self.submit(Submission::Attach(attach));
    }

    /// The sequencer gave the session to this connection.
    pub(super) fn attached(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        generation: Generation,
        timeout_ms: u32,
        now: Millis,
    ) {
        let read_only_byte = match self.connections.get(&id).map(|connection| connection.phase) {
            Some(Phase::Attaching { read_only_byte }) => read_only_byte,
            // Died meanwhile: the session's clock runs at the sequencer.
            _ => return self.give_back(session, generation, timeout_ms, now),
        };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let attachment = Attachment { session, generation, timeout_ms };
        connection.phase = Phase::Open(attachment);
        connection.attached = Some(attachment);
        connection.last_heard = now;
        if self.serving.learns() {
            self.touches.heard(connection, now);
        }
        if self.settings.own.sessionless_per_address_max.is_some() {
            connection.is_sessionless = false;
            self.registry.seated(connection.peer);
        }
        let response = ConnectResponse {
            timeout: i32::try_from(timeout_ms).unwrap_or(i32::MAX),
            session_id: session.0,
            password: password::password_of(session),
            read_only: read_only_byte.then_some(self.serving == Serving::ReadOnly),
        };
        response.encode_frame(connection.output.buffer());
        connection.stats.packet_sent();
        self.metrics.reply_sent(41);
        let latency = now.since(connection.accepted);
        connection.stats.answered(OpCode::CreateSession, -1, crate::base::Zxid(-1), now, latency * 1000);
        self.registry.attached(session, self.id, id);
        self.expiry.touch(id, now, u64::from(timeout_ms));
        self.mark(id);
        self.may_move(id);
    }

    /// The renewal is refused: the client reads a timeout of 0 as "expired" (§2.3).
    pub(super) fn refused(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Phase::Attaching { read_only_byte } = connection.phase else { return };
        let read_only = read_only_byte.then_some(self.serving == Serving::ReadOnly);
        ConnectResponse::refused(read_only).encode_frame(connection.output.buffer());
        connection.stats.packet_sent();
        self.metrics.reply_sent(41);
        self.finish(id);
    }

    /// auth (§8.5): answered at once, ahead of requests that wait. Never logs the credentials.
    pub(super) fn auth(&mut self, id: ConnectionId, xid: i32, body: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Ok(Request::Auth(auth)) = Request::decode(OpCode::Auth, body) else { return self.abort(id) };
        let (peer, now) = (connection.peer.ip(), self.clock.now());
        let guesses = &self.registry.rates.guesses;
        if !guesses.admits(peer, now) {
            return self.abort(id);
        }
        let mut identities = connection.identities.clone();
        let result = acl::add_auth(auth.scheme, auth.auth, &mut identities, &self.settings.policy);
        let failed = result.is_err();
        connection.identify(identities);
        let guessed = acl::names_super(auth.scheme, auth.auth, &self.settings.policy)
            && !connection.identities.is_super();
        if guessed && guesses.failed(peer, now) {
            tracing::warn!(
                address = %peer,
                seconds = limits::AUTH_SHUT_OUT_MS / 1000,
                "too many guesses at the super user: closing this address's clients that authenticate"
            );
        }
        reply::header_only(connection.output.buffer(), xid, 0, failed.then_some(ErrorCode::AuthFailed));
        connection.stats.packet_sent();
        self.metrics.reply_sent(20);
        if failed {
            let scheme = String::from_utf8_lossy(auth.scheme.unwrap_or_default());
            tracing::warn!(peer = %connection.peer, scheme = %scheme.escape_debug().take(64).collect::<String>(), "authentication failed");
            self.metrics.auth_failed();
            self.finish(id);
        } else {
            self.mark(id);
        }
    }

    /// sasl on a server without a SASL login: err 0 and a null token for every token (§8.5). A client that takes this for
    /// a step of its exchange goes on for ever against stock; here it ends after ten (reliability M50).
    pub(super) fn sasl(&mut self, id: ConnectionId, xid: i32, body: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if Request::decode(OpCode::Sasl, body).is_err() {
            return self.abort(id);
        }
        connection.sasl_tokens += 1;
        let endless = connection.sasl_tokens > limits::SASL_ROUNDS_MAX;
        let out = connection.output.buffer();
        let end = reply::begin(out, xid, 0, if endless { ErrorCode::AuthFailed.code() } else { 0 });
        out.buffer(None);
        end.finish(out);
        connection.stats.packet_sent();
        self.metrics.reply_sent(24);
        if endless {
            self.metrics.auth_failed();
            return self.finish(id);
        }
        self.mark(id);
    }
}
