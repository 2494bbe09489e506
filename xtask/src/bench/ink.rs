//! The colours of pictures, on light and on dark ground. Knows whose a tool is, and nothing of what is drawn.

use plotters::prelude::*;

use super::report::Row;

pub(super) struct Ink {
    pub(super) ground: RGBColor,
    pub(super) text: RGBColor,
    pub(super) grid: RGBColor,
    ours: RGBColor,
    peers: [RGBColor; 9],
}

pub(super) const LIGHT: Ink = Ink {
    ground: RGBColor(255, 255, 255),
    text: RGBColor(31, 35, 40),
    grid: RGBColor(225, 228, 232),
    ours: RGBColor(9, 105, 218),
    peers: [
        RGBColor(188, 76, 0),
        RGBColor(26, 127, 55),
        RGBColor(130, 80, 223),
        RGBColor(191, 57, 137),
        RGBColor(154, 103, 0),
        RGBColor(90, 99, 110),
        RGBColor(207, 34, 46),
        RGBColor(16, 128, 128),
        RGBColor(110, 80, 60),
    ],
};

pub(super) const DARK: Ink = Ink {
    ground: RGBColor(13, 17, 23),
    text: RGBColor(230, 237, 243),
    grid: RGBColor(48, 54, 61),
    ours: RGBColor(88, 166, 255),
    peers: [
        RGBColor(240, 136, 62),
        RGBColor(63, 185, 80),
        RGBColor(188, 140, 255),
        RGBColor(247, 120, 186),
        RGBColor(210, 153, 34),
        RGBColor(145, 152, 161),
        RGBColor(248, 81, 73),
        RGBColor(70, 190, 190),
        RGBColor(190, 160, 130),
    ],
};

impl Ink {
    pub(super) fn text(&self, size: u32) -> TextStyle<'static> {
        ("sans-serif", size).into_font().color(&self.text)
    }

    /// A tool has the same colour in all of a picture.
    pub(super) fn of(&self, row: &Row, peers: &[String]) -> RGBColor {
        match row.is_ours() {
            true => self.ours,
            false => {
                let number = peers.iter().position(|peer| *peer == row.tool).unwrap_or(0);
                self.peers[number % self.peers.len()]
            }
        }
    }
}
