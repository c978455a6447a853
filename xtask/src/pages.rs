//! Walks through the pages of the templates in a browser, as people see them: accessibility, both languages, light and dark, narrow and wide.
//!
//! The walk needs Node and its registry, so it is a separate task; that the pages work is tested without it (`templates.rs` of the
//! integration tests).

use crate::{Outcome, cargo, npm, run};
use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A server that ends with this.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn look(templates: &[&str]) -> Outcome {
    let work = npm::prepare("pages", &["check.mjs"])?;
    run(Command::new(cargo()).args(["build", "--package", "haechi", "--bin", "haechi"]))?;
    for template in templates {
        let folder = work.join(template);
        let _ = std::fs::remove_dir_all(&folder);
        run(Command::new("target/debug/haechi").args(["new", "--template", template]).arg(&folder))?;
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_err(|error| error.to_string())?;
        let mut dev = Command::new("target/debug/haechi");
        dev.arg("dev").arg(&folder).args(["--listen", &address.to_string()]).stdout(Stdio::null());
        let _served = Served(dev.spawn().map_err(|error| error.to_string())?);
        let began = std::time::Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            if began.elapsed() > Duration::from_secs(30) {
                return Err("it does not start".to_owned());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let page = format!("http://localhost:{}", address.port());
        run(Command::new("node").arg("check.mjs").args([template, page.as_str(), "pictures"]).current_dir(&work))?;
    }
    Ok(())
}
