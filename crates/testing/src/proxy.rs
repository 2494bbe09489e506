//! [`Proxy`]: stands between a client and an HTTP server, counts what goes through, and fails as it is bidden. Plain HTTP, one request
//! a connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A request that came, and what the server said to it.
#[derive(Debug, Clone, Default)]
pub struct Exchange {
    pub method: String,
    /// The path, and what is asked of it.
    pub target: String,
    pub range: Option<String>,
    /// How many bytes of a body came from the client.
    pub up: u64,
    /// How many bytes of a body the server gave.
    pub down: u64,
    pub status: u16,
}

impl Exchange {
    /// Whether it asks to delete objects.
    pub fn is_delete(&self) -> bool {
        self.method == "DELETE"
    }

    pub fn is_list(&self) -> bool {
        self.method == "GET" && self.target.contains("list-type=2")
    }
}

/// What is done to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The connection ends before the server hears of it.
    Refuse,
    /// The server is not asked; the answer is this status.
    Answer(u16),
    /// The server does it, and the client hears nothing.
    Mute,
    /// The server does it, and the client hears that it failed.
    Lie,
    /// The answer comes in small pieces.
    Slow,
    /// Half of the answer's body comes, then the connection ends.
    Cut,
    /// The server is not asked, and the client hears that it is done.
    Pretend,
    /// A listing names everything twice.
    Twice,
    /// A listing is the one before.
    Stale,
}

type Rule = dyn FnMut(&Exchange) -> Fault + Send;

#[derive(Default)]
struct State {
    seen: Vec<Exchange>,
    rule: Option<Box<Rule>>,
    faults: usize,
    last_list: Option<Vec<u8>>,
    older_list: Option<Vec<u8>>,
}

pub struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    over: Arc<AtomicBool>,
}

impl Proxy {
    pub fn before(server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (state, over) =
            (Arc::new(Mutex::new(State::default())), Arc::new(AtomicBool::new(false)));
        let (shared, ends) = (Arc::clone(&state), Arc::clone(&over));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                let (Ok(client), shared) = (client, Arc::clone(&shared)) else { continue };
                std::thread::spawn(move || drop(pass(&client, server, &shared)));
            }
        });
        Proxy { address, state, over }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on `rule` says what is done to a request.
    pub fn rule(&self, rule: impl FnMut(&Exchange) -> Fault + Send + 'static) {
        self.state.lock().unwrap().rule = Some(Box::new(rule));
    }

    /// What went through since this was asked last, and how many faults there were.
    pub fn take(&self) -> (Vec<Exchange>, usize) {
        let mut state = self.state.lock().unwrap();
        state.rule = None;
        (std::mem::take(&mut state.seen), std::mem::take(&mut state.faults))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
    }
}

fn pass(client: &TcpStream, server: SocketAddr, state: &Mutex<State>) -> io::Result<()> {
    let mut from = BufReader::new(client.try_clone()?);
    let Some((head, length, chunked)) = head(&mut from)? else { return Ok(()) };
    let mut words = head.first().map(|line| line.split(' ')).into_iter().flatten();
    let mut exchange = Exchange {
        method: words.next().unwrap_or_default().to_owned(),
        target: words.next().unwrap_or_default().to_owned(),
        range: head
            .iter()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("range: ").map(str::to_owned)),
        up: length,
        ..Exchange::default()
    };
    assert!(!chunked, "a client of this proxy says how long its body is");
    let fault = {
        let mut state = state.lock().unwrap();
        let fault = state.rule.as_mut().map_or(Fault::None, |rule| rule(&exchange));
        state.faults += usize::from(fault != Fault::None);
        fault
    };
    if head.iter().any(|line| line.eq_ignore_ascii_case("expect: 100-continue")) {
        (&mut (&*client)).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = vec![0; usize::try_from(length).unwrap()];
    from.read_exact(&mut body)?;
    let early = match fault {
        Fault::Refuse => Some(None),
        Fault::Answer(status) => Some(Some(status)),
        Fault::Pretend => Some(Some(200)),
        _ => None,
    };
    if let Some(answer) = early {
        state.lock().unwrap().seen.push(Exchange { status: answer.unwrap_or(0), ..exchange });
        return match answer {
            Some(status) => say(client, status),
            None => client.shutdown(Shutdown::Both),
        };
    }
    let mut upstream = TcpStream::connect(server)?;
    let mut request = String::new();
    for line in head.iter().filter(|line| !is_of_connection(line)) {
        request.push_str(line);
        request.push_str("\r\n");
    }
    request.push_str("Connection: close\r\n\r\n");
    upstream.write_all(request.as_bytes())?;
    upstream.write_all(&body)?;
    let mut answer = BufReader::new(upstream);
    let Some((mut said, length, chunked)) = self::head(&mut answer)? else { return Ok(()) };
    let status = said.first().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
    let mut body = Vec::new();
    match (exchange.method.as_str(), chunked) {
        ("HEAD", _) => {}
        (_, true) => body = chunks(&mut answer)?,
        _ if status == 204 || status == 304 => {}
        _ => drop(answer.take(length).read_to_end(&mut body)?),
    }
    exchange.status = status;
    exchange.down = body.len() as u64;
    let is_list = exchange.is_list() && status == 200;
    {
        let mut state = state.lock().unwrap();
        state.seen.push(exchange.clone());
        if is_list {
            let last = state.last_list.replace(body.clone());
            state.older_list = last;
        }
        if is_list && fault == Fault::Stale {
            body = state.older_list.clone().unwrap_or(body);
        }
    }
    if is_list && fault == Fault::Twice {
        body = twice(&String::from_utf8_lossy(&body)).into_bytes();
    }
    match fault {
        Fault::Mute => return client.shutdown(Shutdown::Both),
        Fault::Lie => return say(client, 500),
        _ => {}
    }
    said.retain(|line| !is_of_connection(line) && !is_of_length(line));
    let length = if exchange.method == "HEAD" { length } else { body.len() as u64 };
    let said = said.join("\r\n");
    let head = format!("{said}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let mut client = client;
    client.write_all(head.as_bytes())?;
    if fault == Fault::Cut {
        client.write_all(&body[..body.len() / 2])?;
        return client.shutdown(Shutdown::Both);
    }
    let piece = if fault == Fault::Slow { 100 } else { body.len().max(1) };
    for piece in body.chunks(piece) {
        client.write_all(piece)?;
        client.flush()?;
        std::thread::yield_now();
    }
    Ok(())
}

/// The lines of a head, the length that it says the body has, and whether that comes in chunks. `None` at the end of the stream.
fn head(from: &mut impl BufRead) -> io::Result<Option<(Vec<String>, u64, bool)>> {
    let (mut lines, mut length, mut chunked) = (Vec::new(), 0, false);
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Some((lines, length, chunked)));
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        chunked |= lower.starts_with("transfer-encoding:") && lower.contains("chunked");
        lines.push(line.to_owned());
    }
}

fn chunks(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim().split(';').next().unwrap(), 16).unwrap();
        let at = body.len();
        body.resize(at + length, 0);
        from.read_exact(&mut body[at..])?;
        from.read_line(&mut String::new())?;
        if length == 0 {
            return Ok(body);
        }
    }
}

fn is_of_connection(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    line.starts_with("connection:") || line.starts_with("expect:")
}

fn is_of_length(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    line.starts_with("content-length:") || line.starts_with("transfer-encoding:")
}

fn say(mut client: &TcpStream, status: u16) -> io::Result<()> {
    let text = "<Error><Code>InternalError</Code><Message>a fault of the test</Message></Error>";
    let length = text.len();
    write!(
        client,
        "HTTP/1.1 {status} Fault\r\nETag: \"0\"\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    )
}

/// A listing in which every object comes twice.
fn twice(list: &str) -> String {
    let (start, end) = ("<Contents>", "</Contents>");
    match (list.find(start), list.rfind(end)) {
        (Some(from), Some(to)) => {
            let (to, contents) = (to + end.len(), &list[from..to + end.len()]);
            format!("{}{contents}{contents}{}", &list[..from], &list[to..])
        }
        _ => list.to_owned(),
    }
}
