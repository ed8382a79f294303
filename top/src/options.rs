//! What the command line and the environment say.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use postgres::Config;

/// Watch walia's indexes: the page map, the pulse, what is under way, the graph's health, the last searches.
#[derive(Debug, Parser)]
#[command(name = "walia-top", version)]
pub struct Options {
    /// A connection string (postgresql://… or key=value …) or a database's name. What it leaves out is taken
    /// from PGHOST, PGPORT, PGUSER, PGDATABASE, PGPASSWORD and PGPASSFILE, as psql does
    pub connection: Option<String>,
    /// Show this index first
    #[arg(long, value_name = "NAME")]
    pub index: Option<String>,
    /// Seconds between two looks at the counters
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub interval: f64,
    /// Seconds that walia_info and walia_recall may take, which read whole relations
    #[arg(long, default_value_t = 60.0, value_parser = seconds)]
    pub limit: f64,
    /// Print one screen as text, and end; so it is where there is no terminal
    #[arg(long)]
    pub once: bool,
    /// Draw with ASCII characters only, as where the locale is not UTF-8
    #[arg(long)]
    pub ascii: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("must be between 0.1 and 86400".into()),
    }
}

/// A variable of the environment that is set to something.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// How to connect: what the connection string says, and the rest by the variables that psql reads.
pub fn config(connection: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Result<Config> {
    let mut config = match connection {
        Some(text) if text.contains('=') || text.contains("://") => {
            text.parse().context("invalid connection string")?
        }
        Some(database) => {
            let mut config = Config::new();
            config.dbname(database);
            config
        }
        None => Config::new(),
    };
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        for host in variable("PGHOST").unwrap_or_else(default_host).split(',') {
            config.host(host);
        }
    }
    if config.get_ports().is_empty() {
        for port in variable("PGPORT").iter().flat_map(|ports| ports.split(',')) {
            config.port(port.parse().with_context(|| format!("invalid PGPORT \"{port}\""))?);
        }
    }
    if config.get_user().is_none() {
        let user = ["PGUSER", "USER", "LOGNAME"].into_iter().find_map(&variable);
        config.user(&user.context("the role's name is not known: set PGUSER")?);
    }
    if config.get_dbname().is_none() {
        let user = config.get_user().unwrap_or_default().to_owned();
        config.dbname(&variable("PGDATABASE").unwrap_or(user));
    }
    if config.get_password().is_none() {
        let from_file = || {
            let home = || variable("HOME").map(|home| PathBuf::from(home).join(".pgpass"));
            let file = variable("PGPASSFILE").map(PathBuf::from).or_else(home)?;
            password(&std::fs::read_to_string(file).ok()?, &config)
        };
        if let Some(password) = variable("PGPASSWORD").or_else(from_file) {
            config.password(password);
        }
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(Duration::from_secs(5));
    }
    // A server that is gone without a word is noticed.
    config.tcp_user_timeout(Duration::from_secs(15)).application_name("walia-top");
    Ok(config)
}

/// Where servers of packages, or of PostgreSQL's own sources, have their socket.
fn default_host() -> String {
    let directories = ["/var/run/postgresql", "/tmp"];
    let has_socket = |directory: &&str| {
        let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
        files.into_iter().any(|file| file.file_name().to_string_lossy().starts_with(".s.PGSQL."))
    };
    directories.into_iter().find(has_socket).unwrap_or("localhost").into()
}

/// The password for a connection from a file of lines `host:port:database:role:password`, where `*` matches
/// all.
fn password(file: &str, config: &Config) -> Option<String> {
    use postgres::config::Host;
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        // psql says localhost of a socket in the directory that it was compiled for.
        Some(Host::Unix(_)) | None => "localhost".into(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432).to_string();
    let wanted = [&*host, &*port, config.get_dbname()?, config.get_user()?];
    file.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = fields(line);
        let [matched @ .., password] = &*fields else { return None };
        let matches =
            matched.len() == 4 && matched.iter().zip(wanted).all(|(field, is)| field == "*" || field == is);
        matches.then(|| password.clone())
    })
}

/// The five fields of a line, in which a backslash takes the next character as it is.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ':' if fields.len() < 5 => fields.push(String::new()),
            '\\' => fields.last_mut().into_iter().for_each(|field| field.extend(characters.next())),
            _ => fields.last_mut().into_iter().for_each(|field| field.push(character)),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use postgres::config::Host;

    use super::*;

    fn with(connection: Option<&str>, variables: &[(&str, &str)]) -> Config {
        let find =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
        config(connection, find).unwrap()
    }

    #[test]
    fn variables_fill_what_the_string_leaves_out() {
        let variables =
            [("PGHOST", "db.example"), ("PGPORT", "5433"), ("PGUSER", "ann"), ("PGDATABASE", "shop")];
        let by_variables = with(None, &variables);
        assert_eq!(by_variables.get_hosts(), [Host::Tcp("db.example".into())]);
        assert_eq!(by_variables.get_ports(), [5433]);
        assert_eq!((by_variables.get_user(), by_variables.get_dbname()), (Some("ann"), Some("shop")));
        let named = with(Some("stock"), &variables);
        assert_eq!((named.get_user(), named.get_dbname()), (Some("ann"), Some("stock")));
        let said = with(Some("postgresql://bob@other:6000/stock"), &variables);
        assert_eq!(said.get_hosts(), [Host::Tcp("other".into())]);
        assert_eq!(
            (said.get_ports(), said.get_user(), said.get_dbname()),
            (&[6000][..], Some("bob"), Some("stock"))
        );
        assert_eq!(with(Some("host=/run/pg"), &[("USER", "ann")]).get_dbname(), Some("ann"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(
            config(Some("port=none"), |_| None)
                .unwrap_err()
                .to_string()
                .contains("invalid connection string")
        );
        assert!(config(None, |_| None).unwrap_err().to_string().contains("PGUSER"));
        let port = |name: &str| (name != "PGHOST").then(|| "x".to_owned());
        assert_eq!(config(None, port).unwrap_err().to_string(), "invalid PGPORT \"x\"");
    }

    #[test]
    fn passwords_come_from_a_file() {
        let config = with(Some("postgresql://ann@db:6000/shop"), &[]);
        let file = "# db:6000:shop:ann:no\ndb:5432:*:ann:other port\nother:*:*:*:other\n\
                    db:6000:*:ann:a\\:b:c\n*:*:*:*:last";
        assert_eq!(password(file, &config).as_deref(), Some("a:b:c"));
        assert_eq!(password("db:6000:shop:bob:no", &config), None);
        assert_eq!(password("db:6000:shop", &config), None);
    }
}
