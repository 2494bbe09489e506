//! Names as text that a terminal shows as they are. Knows which characters it would not show, or would act on.

/// Names as one line of text that shows what it is: UTF-8 stays as it is, a backslash becomes `\\`, and every byte of a
/// [hidden](is_hidden) character or of invalid UTF-8 becomes `\0` and three octal digits, which is what a POSIX shell's
/// `printf '%b'` turns back into the byte.
pub fn escape(bytes: &[u8]) -> String {
    escape_if(bytes, is_hidden)
}

/// As [`escape`], of control characters alone: lines for programs, whose form does not change with what Unicode adds.
pub fn escape_controls(bytes: &[u8]) -> String {
    escape_if(bytes, char::is_control)
}

fn escape_if(bytes: &[u8], is_hidden: fn(char) -> bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    let octal = |text: &mut String, raw: &[u8]| {
        raw.iter().for_each(|byte| text.push_str(&format!("\\0{byte:03o}")));
    };
    let plain = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'\\';
    for chunk in bytes.utf8_chunks() {
        if chunk.valid().as_bytes().iter().all(plain) {
            text.push_str(chunk.valid());
            octal(&mut text, chunk.invalid());
            continue;
        }
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if is_hidden(c) => octal(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes()),
                c => text.push(c),
            }
        }
        octal(&mut text, chunk.invalid());
    }
    text
}

/// Whether a terminal acts on `c`, or shows nothing of it, so that a text could look like another one: control characters
/// (C0, DEL, C1), format characters (the marks that turn the direction of writing among them), the separators of lines and
/// paragraphs, and what Unicode calls ignorable (of no width, fillers, variation selectors, tags).
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || !c.is_ascii() && HIDDEN.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// Unicode 16: general categories Cf, Zl and Zp, and the property Default_Ignorable_Code_Point.
const HIDDEN: [(char, char); 25] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_names_cannot_steer_a_terminal() {
        let shown = escape(b"a\n\x1b[2J\\\xffz\xc3\xa9\x7f");
        assert_eq!(shown, "a\\0012\\0033[2J\\\\\\0377z\u{e9}\\0177");
        assert_eq!(escape("c1\u{9b}31m".as_bytes()), "c1\\0302\\023331m");
        assert_eq!(escape("photo\u{202e}gpj.exe".as_bytes()), "photo\\0342\\0200\\0256gpj.exe");
    }

    /// A name that looks like another one is shown as what it is.
    #[test]
    fn hidden_characters_are_shown() {
        for c in [
            '\0',
            '\n',
            '\u{7f}',
            '\u{85}',
            '\u{9b}',
            '\u{9f}',
            '\u{ad}',
            '\u{61c}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{202e}',
            '\u{2066}',
            '\u{2069}',
            '\u{2060}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{fffb}',
            '\u{e0041}',
            '\u{e01ef}',
        ] {
            assert!(is_hidden(c), "{c:?}");
            let mut name = [0; 4];
            assert!(escape(c.encode_utf8(&mut name).as_bytes()).is_ascii(), "{c:?}");
        }
        for c in
            [' ', '~', '\u{a0}', 'é', '\u{301}', 'ا', '語', '\u{1f600}', '\u{fffd}', '\u{e000}']
        {
            assert!(!is_hidden(c), "{c:?}");
        }
    }

    #[test]
    fn lines_for_programs_stay_as_they_were() {
        assert_eq!(escape_controls("a\u{202e}\\\n".as_bytes()), "a\u{202e}\\\\\\0012");
    }
}
