//! `graphql-transport-ws`: operations and subscriptions over a WebSocket. One task reads and writes; each operation has a task.

use crate::{
    door::{Door, Place},
    error::{GraphqlError, write_list},
    parameters::{Parameters, from_json},
    subscribe::{Next, Subscription},
};
use async_graphql::parser::types::OperationType;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use haechi_data::RecordError;
use haechi_gate::{Ask, Credential, Hold, Waiting};
use haechi_model::{Json, parse_json, write_json_text};
use haechi_problem::{Problem, kinds};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
    time::Instant,
};

/// The subprotocol.
pub(crate) const PROTOCOL: &str = "graphql-transport-ws";
/// The time in which a client must begin.
const INIT: Duration = Duration::from_secs(10);
/// How often a client is pinged, and the longest silence.
const PING: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_secs(60);
/// The longest time to send a message.
const SEND: Duration = Duration::from_secs(30);
/// Messages that wait to be sent.
const QUEUE: usize = 16;
/// Operations of one connection at once.
const MAX_OPERATIONS: usize = 100;
const MAX_ID: usize = 128;
/// Most answers of one connection that are being made or wait to be sent.
const ANSWERS: usize = 4;
/// How often a message that found no room tries again.
const ROOM: Duration = Duration::from_millis(20);

/// Why a connection is closed.
struct Close(u16, &'static str);

const MALFORMED: Close = Close(4400, "The message is not one of the protocol");
const UNAUTHORIZED: Close = Close(4401, "Unauthorized");
const FORBIDDEN: Close = Close(4403, "Forbidden");
const TOO_LATE: Close = Close(4408, "Connection initialisation timeout");
const AGAIN: Close = Close(4429, "Too many initialisation requests");
const TOO_MANY: Close = Close(4429, "Too many operations");
const GOING: Close = Close(1001, "Going away");

/// A message of an operation. The number tells the operation from earlier ones with the same id.
struct Said {
    id: Box<str>,
    number: u64,
    what: What,
    /// Bytes that count until the message is sent, and the operation's turn.
    _waiting: Option<Waiting>,
    _turn: Option<OwnedSemaphorePermit>,
}

enum What {
    Next(Vec<u8>),
    Error(Vec<u8>),
    Complete,
    /// The caller's credential or account has ended or changed.
    Leave,
}

/// A running operation; dropping this ends it.
struct Running {
    number: u64,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Connection {
    door: Arc<Door>,
    socket: WebSocket,
    ask: Ask,
    began: bool,
    /// Whether a page that came with a cookie has shown its CSRF token.
    proven: bool,
    running: HashMap<Box<str>, Running>,
    numbers: u64,
    said: mpsc::Sender<Said>,
    answers: Arc<Semaphore>,
}

/// Serves a connection to its end.
pub(crate) async fn serve(door: Arc<Door>, ask: Ask, socket: WebSocket, _hold: Option<Hold>) {
    let (said, mut heard) = mpsc::channel(QUEUE);
    let mut connection = Connection {
        door,
        socket,
        ask,
        began: false,
        proven: false,
        running: HashMap::new(),
        numbers: 0,
        said,
        answers: Arc::new(Semaphore::new(ANSWERS)),
    };
    let Err(Close(code, reason)) = connection.run(&mut heard).await else { return };
    let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
    let _ = tokio::time::timeout(SEND, connection.socket.send(Message::Close(Some(frame)))).await;
}

impl Connection {
    /// Runs until the connection is closed: `Ok` when the client closed it.
    async fn run(&mut self, heard: &mut mpsc::Receiver<Said>) -> Result<(), Close> {
        let begin = tokio::time::sleep(INIT);
        tokio::pin!(begin);
        let mut ping = tokio::time::interval(PING);
        let mut last = Instant::now();
        loop {
            tokio::select! {
                message = self.socket.recv() => {
                    last = Instant::now();
                    match message {
                        None | Some(Err(_)) | Some(Ok(Message::Close(_))) => return Ok(()),
                        Some(Ok(Message::Text(text))) => self.received(text.as_str()).await?,
                        Some(Ok(Message::Binary(_))) => return Err(MALFORMED),
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    }
                }
                Some(said) = heard.recv() => self.tell(said).await?,
                () = &mut begin, if !self.began => return Err(TOO_LATE),
                _ = ping.tick() => {
                    if last.elapsed() > SILENCE {
                        return Ok(());
                    }
                    self.send(Message::Ping(axum::body::Bytes::new())).await?;
                }
            }
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), Close> {
        match tokio::time::timeout(SEND, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(GOING),
        }
    }

    async fn tell(&mut self, said: Said) -> Result<(), Close> {
        let id = &said.id;
        // An operation that the client has completed is over: its waiting messages are dropped.
        if self.running.get(id).is_none_or(|running| running.number != said.number) {
            return Ok(());
        }
        let (kind, payload) = match &said.what {
            What::Next(payload) => ("next", Some(payload)),
            What::Error(payload) => ("error", Some(payload)),
            What::Complete => ("complete", None),
            What::Leave => return Err(FORBIDDEN),
        };
        let mut out = Vec::with_capacity(payload.map_or(0, Vec::len) + 64);
        out.extend_from_slice(format!("{{\"type\":\"{kind}\",\"id\":").as_bytes());
        write_json_text(id, &mut out);
        if let Some(payload) = payload {
            out.extend_from_slice(b",\"payload\":");
            out.extend_from_slice(payload);
        }
        out.push(b'}');
        if !matches!(said.what, What::Next(_)) {
            self.running.remove(id);
        }
        self.send(Message::Text(String::from_utf8_lossy(&out).into_owned().into())).await
    }

    async fn received(&mut self, text: &str) -> Result<(), Close> {
        let Ok(Json::Object(members)) = parse_json(text.as_bytes()) else { return Err(MALFORMED) };
        let member = |name: &str| members.iter().find(|(known, _)| **known == *name).map(|(_, json)| json);
        let (kind, id) = match (member("type"), member("id")) {
            (Some(Json::Text(kind)), Some(Json::Text(id))) if !id.is_empty() && id.len() <= MAX_ID => (&**kind, Some(id.clone())),
            (Some(Json::Text(kind)), None) => (&**kind, None),
            _ => return Err(MALFORMED),
        };
        match (kind, id) {
            ("connection_init", None) => self.begin(member("payload")).await,
            ("ping", None) => self.send(Message::Text(Utf8Bytes::from_static("{\"type\":\"pong\"}"))).await,
            ("pong", None) => Ok(()),
            ("subscribe", Some(id)) => match member("payload") {
                Some(payload) => self.subscribe(id, payload.clone()).await,
                None => Err(MALFORMED),
            },
            ("complete", Some(id)) => {
                self.running.remove(&id);
                Ok(())
            }
            _ => Err(MALFORMED),
        }
    }

    /// The caller: from the handshake, or from the token in the first message.
    async fn begin(&mut self, payload: Option<&Json>) -> Result<(), Close> {
        if std::mem::replace(&mut self.began, true) {
            return Err(AGAIN);
        }
        if let Some(token) = payload.and_then(bearer) {
            if !self.ask.caller().is_anonymous() {
                return Err(MALFORMED);
            }
            let caller = self.door.keeper.caller(&token, false, self.ask.network()).await.ok_or(FORBIDDEN)?;
            self.ask = self.ask.of(&caller, &token);
        }
        // A browser sends the cookie by itself, so a change needs proof that our own page sent it.
        self.proven = payload.and_then(csrf_token).is_some_and(|token| self.door.keeper.proven(self.ask.caller(), &token));
        if self.ask.caller().is_anonymous() && self.ask.app().anonymous.is_empty() {
            return Err(FORBIDDEN);
        }
        self.send(Message::Text(Utf8Bytes::from_static("{\"type\":\"connection_ack\"}"))).await
    }

    async fn subscribe(&mut self, id: Box<str>, payload: Json) -> Result<(), Close> {
        if !self.began {
            return Err(UNAUTHORIZED);
        }
        if self.running.contains_key(&id) {
            return Err(Close(4409, "Subscriber for this id already exists"));
        }
        if self.running.len() >= MAX_OPERATIONS {
            return Err(TOO_MANY);
        }
        let parameters = from_json(payload).map_err(|_| MALFORMED)?;
        // Checked again for each operation: the connection may be older than a sign-out.
        let ask = match self.ask.credential() {
            None => self.ask.renewed(),
            Some(token) => {
                let in_cookie = matches!(self.ask.caller().credential(), Credential::Session { cookie: true, .. });
                let caller = self.door.keeper.caller(token, in_cookie, self.ask.network()).await.ok_or(FORBIDDEN)?;
                self.ask.of(&caller, token)
            }
        };
        let in_cookie = matches!(ask.caller().credential(), Credential::Session { cookie: true, .. });
        let may_change = !in_cookie || self.proven;
        self.numbers += 1;
        let (door, number) = (self.door.clone(), self.numbers);
        let voice = Voice { id: id.clone(), number, said: self.said.clone(), ask: ask.clone(), answers: self.answers.clone() };
        let work = async move {
            let last = operation(&door, &ask, &parameters, may_change, &voice).await;
            voice.say(last, None).await;
        };
        self.running.insert(id, Running { number, task: tokio::spawn(work) });
        Ok(())
    }
}

/// A member of the first message; upper and lower case do not matter.
fn member_of<'a>(payload: &'a Json, wanted: &str) -> Option<&'a str> {
    let Json::Object(members) = payload else { return None };
    let value = members.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, json)| json)?;
    if let Json::Text(text) = value { Some(text) } else { None }
}

/// `{"X-CSRF-Token": "…"}`
fn csrf_token(payload: &Json) -> Option<String> {
    member_of(payload, "x-csrf-token").map(str::to_owned)
}

/// `{"Authorization": "Bearer …"}`
fn bearer(payload: &Json) -> Option<String> {
    let text = member_of(payload, "authorization")?;
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// Sends messages for one operation.
struct Voice {
    id: Box<str>,
    number: u64,
    said: mpsc::Sender<Said>,
    ask: Ask,
    answers: Arc<Semaphore>,
}

impl Voice {
    /// Sends a message; `false` when the connection is gone. Waits for room, at most as long as a message may take.
    async fn say(&self, what: What, turn: Option<OwnedSemaphorePermit>) -> bool {
        let bytes = if let What::Next(payload) = &what { payload.len() } else { 0 };
        let room = async {
            loop {
                let waiting = self.ask.waits(bytes);
                if bytes == 0 || waiting.is_some() {
                    return waiting;
                }
                tokio::time::sleep(ROOM).await;
            }
        };
        let Ok(waiting) = tokio::time::timeout(SEND, room).await else { return false };
        self.said.send(Said { id: self.id.clone(), number: self.number, what, _waiting: waiting, _turn: turn }).await.is_ok()
    }
}

/// Runs an operation and returns its last message.
async fn operation(door: &Arc<Door>, ask: &Ask, parameters: &Parameters, may_change: bool, voice: &Voice) -> What {
    let refused = |errors: &[GraphqlError]| {
        let mut out = Vec::new();
        write_list(errors, &door.base, ask, &mut out);
        What::Error(out)
    };
    let one = |problem: Problem| refused(&[GraphqlError::of_request(problem)]);
    if let Err(seconds) = ask.spend(1) {
        return one(RecordError::Spent(seconds).problem());
    }
    let turn = voice.answers.clone().acquire_owned().await.ok();
    if ask.waits(0).is_none() {
        return one(Problem::new(kinds::BUSY, "Replies wait to be read: read those first.").retry_after(1));
    }
    // A query or change takes a slot and has a time limit; a stream gives both back.
    let Ok(slot) = door.slots.try_acquire() else { return one(Problem::new(kinds::BUSY, "Too many operations are in work.").retry_after(1)) };
    let prepared = match door.prepare(ask, parameters).await {
        Ok(prepared) => prepared,
        Err(errors) => return refused(&errors),
    };
    if prepared.plan.kind == OperationType::Mutation && !may_change {
        return one(Problem::new(kinds::FORBIDDEN, "A change over a connection with a cookie needs X-CSRF-Token in connection_init."));
    }
    if prepared.plan.kind != OperationType::Subscription {
        let Ok(answer) = tokio::time::timeout(door.timeout, door.perform(ask, prepared, Place::Body, None)).await else {
            return one(Problem::new(kinds::TIMEOUT, "The reply took too long."));
        };
        if let Some(problem) = answer.refused {
            return one(problem);
        }
        voice.say(What::Next(answer.bytes), turn).await;
        return What::Complete;
    }
    let opened = tokio::time::timeout(door.timeout, Subscription::open(door, ask, prepared)).await;
    drop((slot, turn));
    let mut subscription = match opened {
        Ok(Ok(subscription)) => subscription,
        Ok(Err(errors)) => return refused(&errors),
        Err(_) => return one(Problem::new(kinds::TIMEOUT, "The stream took too long to open.")),
    };
    while let Some(next) = subscription.next().await {
        match next {
            Next::Data(bytes) => {
                if !voice.say(What::Next(bytes), None).await {
                    break;
                }
            }
            Next::End(_, true) => return What::Leave,
            Next::End(errors, false) => return What::Error(errors),
        }
    }
    What::Complete
}
