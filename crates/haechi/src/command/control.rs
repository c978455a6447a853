//! Commands that work on an open house: on the running one through its control socket, else on one that they open.
//!
//! The socket lies in the data directory and is its owner's alone. Its caller, the operating system's user, stands in
//! the ledger.

use super::{
    Arguments, Command, Done, Failed, Place,
    words::{FORWARDED, Forwarded, Word, note},
};
use clap::Parser;
use haechi::{
    DataDir, FolderError, House, Mode,
    app::{folder::private, people},
};
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc, watch},
};

const MAX_BYTES: u64 = 64 * 1024;
/// Longest wait for what is asked; asking is short, answering may take long.
const ASKING: Duration = Duration::from_secs(5);

/// Runs a command on the open house: in the process that serves it, or here.
pub(crate) async fn run(command: Command, place: &Place) -> Done {
    // A folder that is not one must not become one by being named.
    drop(place.load()?);
    match DataDir::open(place.data()) {
        Ok(data) => {
            let house = House::open(&place.folder, &data, Mode::Dev).await?;
            let applied = house.gate.applied(&house.keys.schema).await.map_err(|failure| format!("the database cannot be read: {failure}"))?;
            if applied.is_empty() && !matches!(command, Command::Migrate(_)) {
                let folder = super::shown(&place.folder);
                return Err(Failed::Said(format!("there are no tables yet in {}: run `haechi migrate apply -C {folder}`", house.place)));
            }
            let done = on(&house, command, place).await;
            house.gate.settle().await;
            house.close().await;
            done
        }
        Err(FolderError::Locked(at)) => forward(&socket(&place.data())).await.ok_or(Failed::Folder(FolderError::Locked(at)))?,
        Err(error) => Err(error.into()),
    }
}

async fn on(house: &House, command: Command, place: &Place) -> Done {
    match command {
        Command::User(command) => {
            let done = command.on(house, place.json).await?;
            // Where `dev` has written the list of people, a person who was just added has a token at once.
            if people::read(&place.data()).is_some() {
                let people = people::list(house).await.map_err(|failure| format!("the people cannot be read: {failure}"))?;
                people::write(&people, &place.data())?;
            }
            Ok(done)
        }
        Command::Key(command) => command.on(house, place.json).await,
        Command::Job(command) => command.on(house, place.json).await,
        Command::Schedule(command) => command.on(house, place.json).await,
        Command::Clock(command) => command.on(house, place.json).await,
        Command::Advise(command) => command.on(house, place.json).await,
        Command::Explain(command) => command.on(house, place.json).await,
        Command::Audit(command) => command.on(house, place.json).await,
        Command::Backup(command) => command.on(house, place).await,
        Command::Migrate(command) if command.only_looks() => command.on(house, place).await,
        Command::Import(command) => command.on(house, place.json).await,
        Command::Export(command) => command.on(house).await,
        _ => Err(Failed::Said("this command does not work on a house that is open".to_owned())),
    }
}

fn socket(data: &Path) -> PathBuf {
    data.join("control.sock")
}

/// Asks the running house to do it; `None` when there is nobody to ask.
async fn forward(socket: &Path) -> Option<Done> {
    let mut stream = UnixStream::connect(socket).await.ok()?;
    let arguments: Vec<String> = std::env::args().collect();
    let folder = std::env::current_dir().ok()?;
    let asked = json!({ "arguments": arguments, "folder": folder.display().to_string() });
    stream.write_all(format!("{asked}\n").as_bytes()).await.ok()?;
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let answer: Value = serde_json::from_str(&line).ok()?;
        super::print(answer["said"].as_str().unwrap_or_default().as_bytes());
        eprint!("{}", answer["warned"].as_str().unwrap_or_default());
        if let Some(done) = answer["done"].as_bool() {
            return Some(Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }));
        }
    }
    Some(Err(Failed::Said("the running process ended before it had answered".to_owned())))
}

/// Answers on the control socket until it is aborted.
pub(crate) async fn control(data: PathBuf, place: Place, current: watch::Receiver<Arc<House>>) {
    let Err(error) = listen(&data, place, current).await;
    tracing::warn!(target: "haechi", %error, "there is no control socket: commands need this process to be stopped");
}

async fn listen(data: &Path, place: Place, current: watch::Receiver<Arc<House>>) -> std::io::Result<Infallible> {
    let at = socket(data);
    // The data directory is locked: a socket file there belongs to a process that is gone.
    let _ = std::fs::remove_file(&at);
    // It gets its name when it is its owner's alone: nobody finds it before.
    let unnamed = data.join("control.tmp");
    let _ = std::fs::remove_file(&unnamed);
    let listener = UnixListener::bind(&unnamed)?;
    private(&unnamed, 0o600)?;
    std::fs::rename(&unnamed, &at)?;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Usually out of descriptors. Operators need this socket most under attack, so it tries again.
                tracing::warn!(target: "haechi", %error, "a command could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (place, house) = (place.clone(), current.borrow().clone());
        tokio::spawn(async move {
            if let Err(error) = answer(stream, house, place).await {
                tracing::warn!(target: "haechi", %error, "the control socket could not be answered");
            }
        });
    }
}

async fn answer(stream: UnixStream, house: Arc<House>, place: Place) -> std::io::Result<()> {
    let user = format!("uid {}", stream.peer_cred()?.uid());
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    tokio::time::timeout(ASKING, BufReader::new(reader.take(MAX_BYTES)).read_line(&mut line)).await??;
    let asked: Value = serde_json::from_str(&line).map_err(std::io::Error::other)?;
    let arguments: Vec<String> = asked["arguments"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let folder = PathBuf::from(asked["folder"].as_str().unwrap_or_default());
    let (words, mut waiting) = mpsc::unbounded_channel();
    let writing = async {
        let mut written = Ok(());
        while let Some(word) = waiting.recv().await {
            let line = match word {
                // Nobody listens any more: the rest is let go, so that nobody waits for it.
                _ if written.is_err() => continue,
                Word::Said(text) => json!({ "said": text }),
                Word::Warned(text) => json!({ "warned": text }),
                Word::Sent(sent) => {
                    let _ = sent.send(());
                    continue;
                }
            };
            written = writer.write_all(format!("{line}\n").as_bytes()).await;
        }
        written
    };
    let working = FORWARDED.scope(Forwarded { words, folder, user }, async {
        let done = match Arguments::try_parse_from(arguments) {
            Ok(asked) => on(&house, asked.command, &Place { json: asked.place.json, ..place }).await,
            Err(error) => Err(Failed::Said(error.to_string())),
        };
        if let Err(failed) = &done {
            note!("haechi: {failed}");
        }
        house.gate.settle().await;
        done.is_ok_and(|code| code == ExitCode::SUCCESS)
    });
    // The command is finished, even if nobody reads its output any more.
    let (done, written) = tokio::join!(working, writing);
    written?;
    writer.write_all(format!("{}\n", json!({ "done": done })).as_bytes()).await?;
    writer.shutdown().await
}
