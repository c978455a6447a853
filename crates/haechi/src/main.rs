//! The command line.

mod command;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let arguments = command::Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("haechi: the runtime cannot be started: {error}");
            return std::process::ExitCode::FAILURE;
        }
    };
    match runtime.block_on(command::run(arguments)) {
        Ok(code) => code,
        Err(failed) => {
            eprintln!("haechi: {failed}");
            std::process::ExitCode::FAILURE
        }
    }
}
