//! Serves an app folder from another program, whose routes use the same stack and the same gate.

use crate::{
    DataDir, FolderError, House, Mode,
    app::{
        folder,
        house::HouseError,
        people,
        reload::reload_on_hangup,
        report,
        rows::{self, RowsError},
        shutdown,
    },
    http::{
        accept::{STALLED, Server},
        admission::Admission,
        reserved::is_reserved,
        routes::stack,
        tls::{Tls, TlsError},
    },
    observe::{logs, ops, supervisor, telemetry::Telemetry},
};
use axum::{
    Router,
    body::Body,
    extract::Request,
    http::Response,
    middleware::{self, Next},
    response::IntoResponse,
    routing::MethodRouter,
};
use futures_util::future::BoxFuture;
use haechi_data::{Act, Acted, Handlers};
use haechi_gate::{Ask, Gate, OpenError};
use haechi_jobs::{Finished, Job, JobError};
use haechi_model::Config;
use haechi_problem::{Problem, kinds};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use thiserror::Error;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// Starts what goes on beside the server.
type Begun = Box<dyn FnOnce(Arc<House>, &DataDir) -> JoinHandle<()> + Send>;

/// How long a database that is not there is waited for, and how often it is looked.
const DATABASE_WAIT: Duration = Duration::from_secs(60);
const DATABASE_EVERY: Duration = Duration::from_secs(2);

/// Why nothing is served.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The folder, or its data directory.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The database, or the keys.
    #[error(transparent)]
    House(#[from] HouseError),
    /// Settings are not safe to serve with; each line says how to fix it.
    #[error("serve refuses:\n  {}", .0.join("\n  "))]
    Refused(Vec<String>),
    /// The database was changed beside its migrations.
    #[error("the database was changed by somebody else; undo this first, with its own tools (`haechi migrate plan` looks again):\n  {}", .0.join("\n  "))]
    Changed(Vec<String>),
    /// The database is not as the folder describes it.
    #[error("the database is not as the folder describes it: run `haechi migrate apply`\n  {}", .0.join("\n  "))]
    NotMigrated(Vec<String>),
    /// The migration cannot be planned, or not be done.
    #[error("{0}")]
    Migrate(String),
    /// The seed rows.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// An address cannot be listened on.
    #[error("{} cannot be listened on: {}", .0, haechi_model::why(*.1))]
    Listen(String, std::io::ErrorKind),
    /// Development works on this host only.
    #[error("development listens on loopback only, not on {0}")]
    NotLoopback(String),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A route for any first segment, beside pages.
    #[error("{0} takes every path, and [site] serves pages at those: begin the route with a name")]
    BesideSite(String),
    /// A path belongs to Haechi.
    #[error("{0} cannot be a route of one's own: the path is reserved")]
    Reserved(String),
}

/// An app folder, about to be served.
///
/// ```no_run
/// use axum::{Extension, routing::get};
/// use haechi::{Ask, Haechi};
///
/// async fn who(Extension(ask): Extension<Ask>) -> String {
///     format!("you are {}\n", ask.caller().id())
/// }
///
/// # async fn example() -> Result<(), haechi::ServeError> {
/// Haechi::open("clinic")?.route("/who", get(who))?.serve().await
/// # }
/// ```
pub struct Haechi {
    root: PathBuf,
    data: PathBuf,
    mode: Mode,
    routes: Router,
    paths: Vec<String>,
    handlers: Handlers,
    jobs: haechi_jobs::Handlers,
}

impl Haechi {
    /// Reads a folder; its data directory is `.haechi` in it.
    ///
    /// # Errors
    /// When the folder has errors.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, ServeError> {
        let root = root.into();
        folder::load(&root)?;
        Ok(Self {
            data: folder::default_data(&root),
            root,
            mode: Mode::Serve,
            routes: Router::new(),
            paths: Vec::new(),
            handlers: Handlers::default(),
            jobs: haechi_jobs::Handlers::default(),
        })
    }

    /// With another data directory.
    #[must_use]
    pub fn data(self, path: impl Into<PathBuf>) -> Self {
        Self { data: path.into(), ..self }
    }

    /// For development: on loopback, with developers' tokens, and migrating at the start.
    #[must_use]
    pub fn development(self) -> Self {
        Self { mode: Mode::Dev, ..self }
    }

    /// Adds the handler of an action that a collection declares under `[actions]`; it runs after policy has allowed the action.
    ///
    /// ```no_run
    /// use haechi::{Act, Acted, Haechi, problem::Problem};
    ///
    /// async fn approve(act: Act) -> Result<Acted, Problem> {
    ///     act.change(&serde_json::json!({ "status": "approved" })).await
    /// }
    ///
    /// # async fn example() -> Result<(), haechi::ServeError> {
    /// Haechi::open("clinic")?.action("invoices", "approve", approve).serve().await
    /// # }
    /// ```
    #[must_use]
    pub fn action<F>(mut self, collection: &str, action: &str, handler: impl Fn(Act) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Acted, Problem>> + Send + 'static,
    {
        self.handlers.add(collection, action, handler);
        self
    }

    /// Adds the handler of a job that the folder declares with `do = { handler = true }`. The job ends with the change that the handler gives
    /// to [`Job::finish`]; when it returns an error, the job is tried again as its folder says.
    ///
    /// ```no_run
    /// use haechi::{Finished, Haechi, Job, JobError};
    ///
    /// async fn count(job: Job) -> Result<Finished, JobError> {
    ///     let work = job.work();
    ///     job.finish(work, Some(&serde_json::json!({ "counted": 3 }))).await
    /// }
    ///
    /// # async fn example() -> Result<(), haechi::ServeError> {
    /// Haechi::open("clinic")?.job("count", count).serve().await
    /// # }
    /// ```
    #[must_use]
    pub fn job<F>(mut self, name: &str, handler: impl Fn(Job) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Finished, JobError>> + Send + 'static,
    {
        self.jobs.add(name, handler);
        self
    }

    /// Adds a route for known callers; others get 401 before the handler runs.
    ///
    /// The handler finds the caller and the gate as `Extension<Ask>`.
    ///
    /// # Errors
    /// When the path is reserved.
    pub fn route(self, path: &str, handler: MethodRouter) -> Result<Self, ServeError> {
        self.public_route(path, handler.layer(middleware::from_fn(known_only)))
    }

    /// Adds a route for everybody.
    ///
    /// # Errors
    /// When the path is reserved.
    pub fn public_route(mut self, path: &str, handler: MethodRouter) -> Result<Self, ServeError> {
        if is_reserved(path) {
            return Err(ServeError::Reserved(path.to_owned()));
        }
        self.paths.push(path.to_owned());
        Ok(Self { routes: self.routes.route(path, handler), ..self })
    }

    /// Serves until the process is asked to stop.
    ///
    /// # Errors
    /// Why nothing is served.
    pub fn serve(self) -> BoxFuture<'static, Result<(), ServeError>> {
        self.serve_with(|_, _| tokio::spawn(async {}))
    }

    /// As [`Haechi::serve`]; `begun` starts the work that runs beside the server.
    ///
    /// # Errors
    /// Why nothing is served.
    pub fn serve_with(
        self,
        begun: impl FnOnce(Arc<House>, &DataDir) -> JoinHandle<()> + Send + 'static,
    ) -> BoxFuture<'static, Result<(), ServeError>> {
        self.serving(Box::new(begun))
    }

    fn serving(self, begun: Begun) -> BoxFuture<'static, Result<(), ServeError>> {
        Box::pin(self.run(begun))
    }

    async fn run(self, begun: Begun) -> Result<(), ServeError> {
        let (revision, warnings) = folder::load(&self.root)?;
        eprint!("{}", report::render(&warnings));
        if let Some(path) = self.paths.iter().find(|path| path.starts_with("/{") && revision.app.config.site.folder.is_some()) {
            return Err(ServeError::BesideSite(path.clone()));
        }
        #[cfg(haechi_unsafe_lab)]
        if self.mode == Mode::Serve {
            return Err(ServeError::Refused(vec![crate::lab::MARK.to_owned()]));
        }
        if self.mode == Mode::Serve {
            let refused = crate::app::obstacles::obstacles(&revision, &self.data);
            if !refused.is_empty() {
                return Err(ServeError::Refused(refused));
            }
        }
        let mut telemetry = Telemetry::open(&revision.app.config.telemetry)?;
        let _logs = logs::start(self.mode == Mode::Serve, &telemetry);
        let data = DataDir::open(self.data.clone())?;
        if self.mode == Mode::Serve {
            wait_for_database(&revision.app.config, &data.path).await?;
        }
        let mut house = House::with(revision, warnings, &data, self.mode).await?;
        house.handlers.clone_from(&self.handlers);
        house.jobs.handle(self.jobs.clone());
        house.handled()?;
        let house = Arc::new(house);
        // Before anything is written: a second server on this address changes nothing.
        let config = house.gate.revision().app.config.clone();
        let (listener, tls) = self.listen(&config).await?;
        let ops_listener = if self.mode == Mode::Serve { Some(bind(&config.server.ops_listen).await?) } else { None };
        self.migrate(&house).await?;
        if self.mode == Mode::Dev {
            self.seed(&house, &data).await?;
        }
        if config.ledger.witness.is_empty() && self.mode == Mode::Serve {
            tracing::warn!(target: "haechi", "no witness is told of the ledger's checkpoints");
        }
        if self.mode == Mode::Serve {
            house.gate.open_all().await.map_err(|why| HouseError::Open(OpenError::Database(house.place.clone(), why.to_string())))?;
        }
        house.start();
        let (houses, watched) = watch::channel(house.clone());
        telemetry.watch(watched);
        tracing::info!(target: "haechi", address = config.server.listen, "serving");
        let routes = self.routes;
        let (_stack, current) = watch::channel(Arc::new(stack(&house, self.mode).with_routes(routes).giving_way_to(&self.paths)));
        let mut tasks = vec![tokio::spawn(reload_on_hangup(house.clone(), self.root.clone())), begun(house.clone(), &data)];
        tasks.extend(ops_listener.map(|listener| tokio::spawn(ops::serve(listener, house.gate.clone(), house.metrics.clone()))));
        if self.mode == Mode::Serve {
            compare_file_limit(config.limits.connections);
            supervisor::ready();
        }
        let (admission, head_ms) = (Admission::new(&config), config.limits.head_ms);
        Server { listener, stack: current, tls, admission, head_ms, stalled: STALLED }.run(Box::pin(ending(house.gate.clone()))).await;
        tasks.iter().for_each(JoinHandle::abort);
        drop(houses);
        house.close().await;
        telemetry.close().await;
        tracing::info!(target: "haechi", "stopped");
        Ok(())
    }

    /// `serve` takes the database as it is, and makes the tables of one that has none; developing migrates it, never dropping anything.
    async fn migrate(&self, house: &House) -> Result<(), ServeError> {
        let strange = house.gate.strange(&house.keys.schema).await.map_err(|error| ServeError::Migrate(error.to_string()))?;
        strange.beside.iter().for_each(|what| tracing::info!(target: "haechi", what, "in the database, and not made by a migration"));
        if !strange.wrong.is_empty() {
            return Err(ServeError::Changed(strange.wrong));
        }
        if self.mode == Mode::Serve && house.gate.make(&house.keys.schema).await.map_err(|error| ServeError::Migrate(error.to_string()))? {
            tracing::info!(target: "haechi", place = house.place, "the database was empty: its tables were made");
        }
        let plan = house.gate.plan(&house.keys.schema).await.map_err(|error| ServeError::Migrate(error.to_string()))?;
        if plan.is_empty() {
            return Ok(());
        }
        if self.mode == Mode::Serve {
            let breaks = house.gate.meet().await.map_err(|error| ServeError::Migrate(error.to_string()))?;
            if !breaks.is_empty() {
                return Err(ServeError::NotMigrated(plan.summary()));
            }
            tracing::info!(target: "haechi", differs = plan.summary().join("; "), "the database has another model than the folder; this node goes on over it");
            return Ok(());
        }
        house.gate.migrate(&house.keys.schema, plan, false).await.map_err(|error| ServeError::Migrate(error.to_string()))
    }

    /// Developing begins with the seed rows, and with people for `haechi token`.
    async fn seed(&self, house: &House, data: &DataDir) -> Result<(), ServeError> {
        rows::seed(house, &self.root).await?;
        let people = people::list(house).await.map_err(|failure| RowsError::Store("users".to_owned(), failure))?;
        people::write(&people, &data.path).map_err(|error| ServeError::Folder(FolderError::Data(data.path.clone(), error.kind())))
    }

    async fn listen(&self, config: &Config) -> Result<(TcpListener, Option<Arc<Tls>>), ServeError> {
        let address = &config.server.listen;
        let loopback = address.parse::<std::net::SocketAddr>().is_ok_and(|address| address.ip().is_loopback());
        if self.mode == Mode::Dev && !loopback {
            return Err(ServeError::NotLoopback(address.clone()));
        }
        let tls = match config.server.tls().filter(|_| self.mode == Mode::Serve) {
            Some(files) => Some(Tls::open(&files)?),
            None => None,
        };
        Ok((bind(address).await?, tls))
    }
}

/// Waits for a while for a server's database that starts later. An error that an operator must fix is reported at once, when it is opened.
async fn wait_for_database(config: &Config, data: &Path) -> Result<(), HouseError> {
    let database = crate::app::database::database(config, data)?;
    let begun = Instant::now();
    while let Err(why) = database.answers().await {
        if begun.elapsed() >= DATABASE_WAIT {
            break;
        }
        tracing::warn!(target: "haechi", database = %database, why, "the database is not there yet; it is waited for");
        tokio::time::sleep(DATABASE_EVERY).await;
    }
    Ok(())
}

/// Warns when the limit of open files is lower than that of connections: connections beyond it could not be accepted.
fn compare_file_limit(connections: usize) {
    /// For the database, its log, and what is read and written now and then.
    const OTHERS: u64 = 200;
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let Some(files) = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()) else { return };
    let needed = connections as u64 + OTHERS;
    if files < needed {
        tracing::warn!(target: "haechi", files, needed, "fewer files may be open than [limits] connections needs: raise the limit (LimitNOFILE, --ulimit nofile), or lower connections");
    }
}

/// Waits for the shutdown signal; streams end first, so that their connections can end.
async fn ending(gate: Gate) {
    shutdown::signal().await;
    supervisor::stopping();
    gate.close_streams();
}

async fn bind(address: &str) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|error| ServeError::Listen(address.to_owned(), error.kind()))
}

async fn known_only(request: Request, next: Next) -> Response<Body> {
    let ask = request.extensions().get::<Ask>();
    if ask.is_none_or(|ask| ask.caller().is_anonymous()) {
        let id = ask.map(Ask::request_id).unwrap_or_default();
        return Problem::new(kinds::UNAUTHENTICATED, "Sign in first.").response("", id);
    }
    next.run(request).await.into_response()
}
