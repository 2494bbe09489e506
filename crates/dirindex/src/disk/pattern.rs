//! One pattern: a line of an exclude file, understood and matched as git does it. Knows bytes and
//! paths; no files, and no order among patterns.
//!
//! A pattern is compiled to a literal start, a few tokens and a literal end. Matching never recurses,
//! and takes no more than (tokens) × (bytes) × (directories) steps of the path: who writes an exclude
//! file in a shared tree can make a scan neither overflow nor hang.

/// A line longer than this can match nothing: a bound for hostile input.
pub(crate) const MAX_LINE_LEN: usize = 4096;

/// A pattern that can match something.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// It takes back what an earlier pattern leaves out.
    pub(crate) negated: bool,
    /// It matches directories alone.
    pub(crate) dirs_only: bool,
    /// It is compared with the last name of a path, not with the whole path.
    pub(crate) name_only: bool,
    /// A match begins with this,
    start: Box<[u8]>,
    /// has this in the middle,
    tokens: Box<[Token]>,
    /// and ends with this.
    end: Box<[u8]>,
}

#[derive(Debug)]
enum Token {
    Byte(u8),
    /// `?`: one byte, no slash.
    Any,
    /// `[…]`: one byte of a set.
    Class(Box<Class>),
    /// `*`: bytes without a slash.
    Star,
    /// `**` with nothing after it: any bytes.
    Rest,
    /// `**/`: nothing, or any bytes that end in a slash.
    Dirs,
}

/// Steps that matching may still take; what would take more counts as no match.
#[derive(Debug)]
pub(crate) struct Steps(pub(crate) u32);

impl Steps {
    /// Takes a step, if one is left.
    pub(crate) fn take(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.are_left()
    }

    /// Whether there was a step for everything so far.
    pub(crate) fn are_left(&self) -> bool {
        self.0 > 0
    }
}

impl Pattern {
    /// What a line without its end means: `None` for blank lines and comments.
    ///
    /// # Errors
    /// Why the pattern can match no path. (To git it is a pattern like others, that never matches.)
    pub(crate) fn parse(line: &[u8]) -> Result<Option<Pattern>, &'static str> {
        // To git a line is a C string.
        let line = line.split(|&byte| byte == 0).next().unwrap_or_default();
        let line = without_trailing_spaces(line);
        if line.is_empty() || line.starts_with(b"#") {
            return Ok(None);
        }
        if line.len() > MAX_LINE_LEN {
            return Err("it is longer than 4096 bytes");
        }
        let (negated, text) = strip(line, line.strip_prefix(b"!"));
        let (dirs_only, text) = strip(text, text.strip_suffix(b"/"));
        let name_only = !text.contains(&b'/');
        let text = text.strip_prefix(b"/").unwrap_or(text);
        let mut tokens = tokens(text, name_only)?;
        refuse_odd_names(&tokens)?;
        let literal = |token: &Token| matches!(token, Token::Byte(_));
        let middle = tokens.iter().position(|token| !literal(token)).unwrap_or(tokens.len());
        let start = bytes(tokens.drain(..middle));
        let after = tokens.iter().rposition(|token| !literal(token)).map_or(0, |last| last + 1);
        let end = bytes(tokens.drain(after..));
        Ok(Some(Pattern { negated, dirs_only, name_only, start, tokens: tokens.into(), end }))
    }

    /// The one text that this matches, if it matches no other.
    pub(crate) fn literal(&self) -> Option<&[u8]> {
        self.tokens.is_empty().then_some(&self.start)
    }

    /// What all names that this matches end with, if it is a `*` and then a dot and more.
    pub(crate) fn ending(&self) -> Option<&[u8]> {
        let any = matches!(*self.tokens, [Token::Star]) && self.name_only && self.start.is_empty();
        (any && self.end.starts_with(b".")).then_some(&self.end)
    }

    /// Whether a path below the directory of the pattern matches; `name` is its last name.
    pub(crate) fn matches(
        &self,
        path: &[u8],
        name: &[u8],
        is_dir: bool,
        steps: &mut Steps,
    ) -> bool {
        let text = if self.name_only { name } else { path };
        if self.dirs_only && !is_dir {
            return false;
        }
        if self.tokens.is_empty() {
            return text == &*self.start;
        }
        let middle = text.strip_prefix(&*self.start).and_then(|text| text.strip_suffix(&*self.end));
        middle.is_some_and(|middle| matches(&self.tokens, middle, steps))
    }
}

/// Of the last `*`, or `**`: where tokens go on behind it, and where in the text that was tried last.
type Tried = Option<(usize, usize)>;

/// Whether `tokens` match all of `text`.
///
/// On a mismatch the last `*` takes one byte more, and when it cannot, the last `**` does. Those
/// before need not be tried again: what lies between was matched as far left as can be, and whatever
/// is possible behind a place further right is possible behind this one.
fn matches(tokens: &[Token], text: &[u8], steps: &mut Steps) -> bool {
    let (mut at, mut from) = (0, 0);
    let (mut star, mut wide): (Tried, Tried) = (None, None);
    while steps.take() {
        match (tokens.get(at), text.get(from)) {
            (None, None) => return true,
            (Some(Token::Star), _) => {
                star = Some((at + 1, from));
                at += 1;
                continue;
            }
            (Some(Token::Rest | Token::Dirs), _) => {
                (star, wide) = (None, Some((at + 1, from)));
                at += 1;
                continue;
            }
            (Some(token), Some(&byte)) if token.takes(byte) => {
                (at, from) = (at + 1, from + 1);
                continue;
            }
            _ => {}
        }
        let left = |tried: usize| text.get(tried..).unwrap_or_default();
        let longer_star =
            star.filter(|&(_, tried)| left(tried).first().is_some_and(|&b| b != b'/'));
        if let Some((behind, tried)) = longer_star {
            star = Some((behind, tried + 1));
            (at, from) = (behind, tried + 1);
        } else if let Some((behind, tried)) = wide {
            let more = match tokens.get(behind - 1) {
                Some(Token::Dirs) => left(tried).iter().position(|&byte| byte == b'/'),
                _ => (!left(tried).is_empty()).then_some(0),
            };
            let Some(more) = more else { return false };
            star = None;
            wide = Some((behind, tried + more + 1));
            (at, from) = (behind, tried + more + 1);
        } else {
            return false;
        }
    }
    false
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Token::Byte(wanted) => *wanted == byte,
            Token::Any => byte != b'/',
            Token::Class(class) => class.has(byte),
            Token::Star | Token::Rest | Token::Dirs => false,
        }
    }
}

fn strip<'a>(text: &'a [u8], stripped: Option<&'a [u8]>) -> (bool, &'a [u8]) {
    (stripped.is_some(), stripped.unwrap_or(text))
}

fn bytes(tokens: impl Iterator<Item = Token>) -> Box<[u8]> {
    let byte = |token| match token {
        Token::Byte(byte) => Some(byte),
        _ => None,
    };
    tokens.filter_map(byte).collect()
}

/// A line without the spaces at its end, but for one that is escaped.
fn without_trailing_spaces(line: &[u8]) -> &[u8] {
    let spaces = line.iter().rev().take_while(|&&byte| byte == b' ').count();
    let text = line.len() - spaces;
    let backslashes = line[..text].iter().rev().take_while(|&&byte| byte == b'\\').count();
    &line[..text + usize::from(spaces > 0 && backslashes % 2 == 1)]
}

/// What a pattern consists of, once `!` and the slashes at its ends are off.
fn tokens(text: &[u8], name_only: bool) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let start = at;
        at += 1;
        tokens.push(match byte {
            b'?' => Token::Any,
            b'*' => {
                at += text[at..].iter().take_while(|&&byte| byte == b'*').count();
                // git compares what is literal up to the first wildcard by itself, and sees the rest
                // as a pattern of its own: `a**/b` is `a`, then `**/b`.
                let first = tokens.iter().all(|token| matches!(token, Token::Byte(_)))
                    && !text[..start].contains(&b'\\');
                let whole = at - start > 1 && (first || text[start - 1] == b'/');
                match &text[at..] {
                    _ if name_only || !whole => Token::Star,
                    [] | [b'\\', b'/', ..] => Token::Rest,
                    [b'/', ..] => {
                        at += 1;
                        Token::Dirs
                    }
                    _ => Token::Star,
                }
            }
            b'[' => {
                let (class, behind) = Class::parse(text, at)?;
                at = behind;
                Token::Class(Box::new(class))
            }
            b'\\' => {
                let escaped = *text.get(at).ok_or("it ends in a lone backslash")?;
                at += 1;
                Token::Byte(escaped)
            }
            byte => Token::Byte(byte),
        });
    }
    Ok(tokens)
}

/// Refuses a pattern that has a name which no path has: `a//b`, `./a`, `../a`, nothing at all.
fn refuse_odd_names(tokens: &[Token]) -> Result<(), &'static str> {
    const EMPTY: &str = "it has an empty name (a double slash)";
    // Whether a name begins here, and not what goes on behind the `**` of `a**/b`.
    let mut begins = true;
    let slash = |token: &Token| matches!(token, Token::Byte(b'/') | Token::Dirs);
    for piece in tokens.split_inclusive(slash) {
        let name = match piece {
            [name @ .., Token::Dirs] => {
                begins &= name.is_empty();
                continue;
            }
            [name @ .., Token::Byte(b'/')] => name,
            name => name,
        };
        match name {
            _ if !begins => {}
            [] => return Err(EMPTY),
            [Token::Byte(b'.')] | [Token::Byte(b'.'), Token::Byte(b'.')] => {
                return Err("it has `.` or `..` as a name, which no path in the tree has");
            }
            _ => {}
        }
        begins = true;
    }
    match tokens.last() {
        None => Err("it names nothing"),
        Some(Token::Byte(b'/')) => Err(EMPTY),
        Some(_) => Ok(()),
    }
}

/// A set of bytes, as a bit for each.
#[derive(Debug, Default)]
struct Class([u64; 4]);

const SLASH: Class = Class([1 << b'/', 0, 0, 0]);

const UNCLOSED: &str = "its `[` is not closed (`\\[` is the character)";

impl Class {
    /// The set that begins behind the `[` at `text[at - 1]`, and where the text goes on behind it.
    fn parse(text: &[u8], mut at: usize) -> Result<(Class, usize), &'static str> {
        let negated = matches!(text.get(at), Some(b'!' | b'^'));
        at += usize::from(negated);
        let mut class = Class::default();
        let byte_at = |at: usize| text.get(at).copied().ok_or(UNCLOSED);
        // What a `-` after it makes a range of.
        let mut before = None;
        let begins = at;
        loop {
            let byte = byte_at(at)?;
            at += 1;
            before = match (byte, before) {
                (b']', _) if at > begins + 1 => break,
                (b'\\', _) => {
                    let escaped = byte_at(at)?;
                    at += 1;
                    class.add(escaped);
                    Some(escaped)
                }
                (b'-', Some(from)) if byte_at(at)? != b']' => {
                    at += usize::from(byte_at(at)? == b'\\');
                    (from..=byte_at(at)?).for_each(|byte| class.add(byte));
                    at += 1;
                    None
                }
                (b'[', _) if text.get(at) == Some(&b':') => {
                    let inside = text.get(at + 1..).unwrap_or_default();
                    let len = inside.iter().position(|&byte| byte == b']').ok_or(UNCLOSED)?;
                    match inside[..len].strip_suffix(b":") {
                        Some(name) => {
                            let is_in = named(name).ok_or("it has an unknown class")?;
                            (0..=u8::MAX).filter(is_in).for_each(|byte| class.add(byte));
                            at += len + 2;
                            None
                        }
                        None => {
                            class.add(b'[');
                            Some(b'[')
                        }
                    }
                }
                (byte, _) => {
                    class.add(byte);
                    Some(byte)
                }
            };
        }
        if negated {
            class.0 = class.0.map(|bits| !bits);
        }
        class.0.iter_mut().zip(SLASH.0).for_each(|(bits, slash)| *bits &= !slash);
        match class.0 {
            [0, 0, 0, 0] => Err("its `[…]` has no character that a name can have there"),
            _ => Ok((class, at)),
        }
    }

    fn add(&mut self, byte: u8) {
        self.0[usize::from(byte / 64)] |= 1 << (byte % 64);
    }

    fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte / 64)] >> (byte % 64) & 1 == 1
    }
}

/// The bytes of `[:name:]`: ASCII alone, whatever the locale.
fn named(name: &[u8]) -> Option<fn(&u8) -> bool> {
    Some(match name {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"blank" => |byte| matches!(byte, b' ' | b'\t'),
        b"cntrl" => u8::is_ascii_control,
        b"digit" => u8::is_ascii_digit,
        b"graph" => u8::is_ascii_graphic,
        b"lower" => u8::is_ascii_lowercase,
        b"print" => |byte| matches!(byte, b' '..=b'~'),
        b"punct" => u8::is_ascii_punctuation,
        // git's own: without the vertical tab and the form feed.
        b"space" => |byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'),
        b"upper" => u8::is_ascii_uppercase,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return None,
    })
}
