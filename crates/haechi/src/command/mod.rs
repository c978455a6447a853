//! The commands: one file each, and the arguments that they share.

mod add;
mod advise;
mod audit;
mod backup;
mod check;
mod clock;
mod config;
mod control;
mod dev;
mod explain;
mod generate;
mod health;
mod job;
mod key;
mod migrate;
mod new;
mod outfile;
mod policy_test;
mod routes;
mod schedule;
mod serve;
mod token;
mod transfer;
mod user;
pub(crate) mod words;

use clap::{Args, Parser, Subcommand};
use haechi::{
    DataDir, FolderError, House, Mode,
    app::{
        folder::{self, default_data},
        house::HouseError,
        report,
    },
};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};
use thiserror::Error;

/// A secure backend in one binary.
#[derive(Parser)]
#[command(name = "haechi", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

/// Where the app and its data are.
#[derive(Args, Clone)]
pub(crate) struct Place {
    /// The app folder.
    #[arg(id = "place", short = 'C', long = "folder", global = true, default_value = ".", value_name = "DIR")]
    folder: PathBuf,
    /// The data directory; `.haechi` in the app folder when not given.
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print data as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Make a new app folder.
    New(new::New),
    /// Add a collection, a field or a role to the folder.
    #[command(subcommand)]
    Add(add::Add),
    /// Serve for development: loopback, reload on change, people with tokens.
    Dev(dev::Dev),
    /// Serve for others; refuses unsafe settings.
    Serve(serve::Serve),
    /// Ask the running `serve` whether it is ready; ends with 1 when it is not.
    Health(health::Health),
    /// Check the folder: model, policies, lints, reach.
    Check(check::Check),
    /// Run the policy tests of the folder.
    Test(policy_test::Test),
    /// Say which policies decide, and how.
    Explain(explain::Explain),
    /// List the routes.
    Routes(routes::Routes),
    /// A token of one of the people of `dev`.
    Token(token::Token),
    /// Add people, give roles, disable, reset passwords, end sessions.
    #[command(subcommand)]
    User(user::User),
    /// Make, list and revoke API keys.
    #[command(subcommand)]
    Key(key::Key),
    /// Look at work that is not done; retry, cancel, pause it.
    #[command(subcommand)]
    Job(job::Job),
    /// List schedules, or run one now.
    #[command(subcommand)]
    Schedule(schedule::Schedule),
    /// Say what could be better in the database: policies that read row by row, unused indexes, old versions of rows.
    Advise(advise::Advise),
    /// Show the clock, or take the system's time after a wrong jump.
    #[command(subcommand)]
    Clock(clock::Clock),
    /// Plan, apply or show migrations.
    #[command(subcommand)]
    Migrate(migrate::Migrate),
    /// Import rows from CSV, JSON or JSON lines: all or none.
    Import(transfer::Import),
    /// Export the rows of a collection.
    Export(transfer::Export),
    /// Write everything into one verified file, while requests go on.
    Backup(backup::Backup),
    /// Put a backup into an empty place. All sessions, keys and codes end.
    Restore(backup::Restore),
    /// Verify or export the ledger.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Print what follows from the folder.
    #[command(subcommand)]
    Generate(generate::Generate),
    /// Show settings.
    #[command(subcommand)]
    Config(config::Config),
    /// Make a new master key.
    Secret,
}

/// A command did not do what it was asked.
#[derive(Debug, Error)]
pub(crate) enum Failed {
    #[error("{0}")]
    Said(String),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    House(#[from] HouseError),
    #[error("{}", .0.problem().explained())]
    Identity(#[from] haechi_identity::IdentityError),
    #[error(transparent)]
    Serve(#[from] haechi::ServeError),
    #[error(transparent)]
    Rows(#[from] haechi::app::rows::RowsError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl From<String> for Failed {
    fn from(text: String) -> Self {
        Self::Said(text)
    }
}

pub(crate) type Done = Result<ExitCode, Failed>;

pub(crate) async fn run(arguments: Arguments) -> Done {
    let place = arguments.place;
    // `serve` and `dev` begin theirs when they know the folder.
    let _logs = (!matches!(arguments.command, Command::Serve(_) | Command::Dev(_)))
        .then(|| haechi::observe::logs::start(false, &haechi::observe::telemetry::Telemetry::default()));
    let done = match arguments.command {
        Command::New(command) => command.run(&place),
        Command::Add(command) => command.run(&place),
        Command::Dev(command) => command.run(place.clone()).await,
        Command::Serve(command) => command.run(place.clone()).await,
        Command::Check(command) => command.run(&place).await,
        Command::Test(command) => command.run(&place),
        Command::Health(command) => command.run(&place),
        Command::Routes(command) => command.run(&place),
        Command::Token(command) => command.run(&place),
        Command::Migrate(command) if !command.only_looks() => command.run(&place).await,
        Command::Restore(command) => command.run(&place).await,
        command @ (Command::Explain(_)
        | Command::User(_)
        | Command::Key(_)
        | Command::Job(_)
        | Command::Schedule(_)
        | Command::Advise(_)
        | Command::Clock(_)
        | Command::Audit(_)
        | Command::Migrate(_)
        | Command::Import(_)
        | Command::Export(_)
        | Command::Backup(_)) => control::run(command, &place).await,
        Command::Generate(command) => command.run(&place),
        Command::Config(command) => command.run(&place),
        Command::Secret => {
            words::say!("{}", haechi_gate::MasterKey::generate_hex());
            Ok(ExitCode::SUCCESS)
        }
    };
    match done {
        Err(
            Failed::Folder(FolderError::Findings(findings))
            | Failed::House(HouseError::Folder(FolderError::Findings(findings)))
            | Failed::Serve(haechi::ServeError::Folder(FolderError::Findings(findings))),
        ) => {
            if place.json {
                print(report::json(&findings).as_bytes())
            } else {
                eprint!("{}", report::render(&findings))
            }
            Ok(ExitCode::FAILURE)
        }
        other => other,
    }
}

impl Place {
    /// With the folder that the command names, when it names one.
    pub(crate) fn at(&self, folder: Option<&PathBuf>) -> Result<Self, Failed> {
        match folder {
            Some(folder) if self.folder != Path::new(".") => {
                Err(Failed::Said(format!("two folders are named, {} and {}: name one", self.folder.display(), folder.display())))
            }
            Some(folder) => Ok(Self { folder: folder.clone(), ..self.clone() }),
            None => Ok(self.clone()),
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| default_data(&self.folder))
    }

    pub(crate) fn load(&self) -> Result<(haechi_gate::Revision, haechi_model::Findings), Failed> {
        Ok(folder::load(&self.folder)?)
    }

    /// Opens the folder's data for a command that works on it alone.
    pub(crate) async fn open(&self) -> Result<(House, DataDir), Failed> {
        // A folder that is not one must not become one by being named.
        drop(self.load()?);
        let data = DataDir::open(self.data())?;
        let house = House::open(&self.folder, &data, Mode::Dev).await?;
        Ok((house, data))
    }
}

/// Prints to standard output; a reader that went away is no error.
pub(crate) fn print(bytes: &[u8]) {
    use std::io::Write;
    let _ = std::io::stdout().lock().write_all(bytes);
}

/// A number with its word.
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The collection of this name.
pub(crate) fn collection<'a>(app: &'a haechi_model::App, name: &str) -> Result<&'a haechi_model::Collection, Failed> {
    app.collection(name).ok_or_else(|| {
        let near = haechi_model::suggest(name, app.collections.iter().map(|collection| collection.name.as_str()));
        let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        Failed::Said(format!("no collection is named `{name}`{near}"))
    })
}

/// A path as a person would write it.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// The database must be as the folder describes it before anything is done with people.
pub(crate) async fn migrated(house: &House) -> Result<(), Failed> {
    if goes_on(house).await? { Ok(()) } else { up_to_date(house).await }
}

/// The database must be exactly as the folder describes it.
pub(crate) async fn up_to_date(house: &House) -> Result<(), Failed> {
    let plan = house.gate.plan(&house.keys.schema).await.map_err(|error| error.to_string())?;
    if plan.is_empty() {
        return Ok(());
    }
    let folder = shown(&house.gate.revision().app.root);
    let drops = if plan.drops.is_empty() { "" } else { "; it would drop data, and says so" };
    Err(Failed::Said(format!("the database is not as the folder describes it: run `haechi migrate apply -C {folder}`{drops}")))
}

/// During a release the database has the next model already; commands go on over it where a node would.
async fn goes_on(house: &House) -> Result<bool, Failed> {
    let breaks = house.gate.meet().await.map_err(|error| error.to_string())?;
    Ok(house.gate.is_migrated() && breaks.is_empty())
}
