//! Pictures of what benchmarks found: SVG, on light and on dark ground. Knows reports, and nothing of how they came about.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::ink::{DARK, Ink, LIGHT};
use super::report::{Report, Row, number};

const WIDTH: u32 = 1000;
const HEIGHT: u32 = 520;
/// What is said below each picture takes this much.
const FOOT: u32 = 74;

/// Reads reports, prints their tables and draws them into `dir`.
pub(crate) fn run(dir: &str, files: &[&str]) -> Result<()> {
    let mut all = Report::default();
    for file in files {
        all.join(Report::read(Path::new(file))?);
    }
    println!("{}", all.table());
    println!("{}", all.against());
    draw(&all, Path::new(dir))
}

/// Draws what the report has figures for.
pub(crate) fn draw(report: &Report, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    for (name, ink) in [("light", &LIGHT), ("dark", &DARK)] {
        for (what, paint) in [
            ("frontier", frontier as fn(&Report, &Ink, &Area<'_>) -> Result<bool>),
            ("growth", growth),
            ("memory", memory),
            ("year", year),
            ("deltas", deltas),
        ] {
            let path = dir.join(format!("{what}-{name}.svg"));
            let area = SVGBackend::new(&path, (WIDTH, HEIGHT + FOOT)).into_drawing_area();
            area.fill(&ink.ground)?;
            let (top, foot) = area.split_vertically(HEIGHT);
            let painted = paint(report, ink, &top)?;
            if painted {
                caption(report, ink, &foot)?;
                area.present()?;
            }
            drop((top, foot, area));
            if !painted {
                drop(fs::remove_file(path));
            }
        }
    }
    Ok(())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The machine, the commit, the versions.
fn caption(report: &Report, ink: &Ink, area: &Area<'_>) -> Result<()> {
    let Report { date, commit, machine, system, tools, .. } = report;
    let mut text =
        format!("{machine}; {system}; commit {commit}; {date}. Medians; whole processes, warm. ");
    let short = |(tool, version): (&String, &String)| {
        let version = version.split([',', '(']).next().unwrap_or_default();
        let version = version.split(" compiled").next().unwrap_or_default().trim();
        // Some say a number alone.
        match version.starts_with(|first: char| first.is_ascii_digit()) {
            true => format!("{tool} {version}"),
            false => version.to_owned(),
        }
    };
    let mut versions: Vec<String> = tools.iter().map(short).collect();
    versions.sort();
    versions.dedup();
    text += &versions.join(", ");
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < 200 => *line += &format!(" {word}"),
            _ => lines.push(word.into()),
        }
    }
    for (number, line) in lines.iter().enumerate() {
        let at = (16, 8 + 15 * i32::try_from(number)?);
        area.draw(&Text::new(line.clone(), at, ink.text(11)))?;
    }
    Ok(())
}

/// The rows of a work, with a value for each axis that is more than nothing.
fn points<'a>(report: &'a Report, corpus: &str, work: &str) -> Vec<(&'a Row, f64, f64)> {
    let rows = report.rows.iter().filter(|row| row.corpus == corpus && row.work == work);
    rows.filter_map(|row| Some((row, row.cpu(), row.stored()?)))
        .filter(|(_, x, y)| *x > 0.0 && *y > 0.0)
        .collect()
}

fn bounds(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (low, high) =
        values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    low / 1.5..high * 1.7
}

/// One, two and five of each power of ten: a narrow range may have no power of ten in it.
fn ticks(range: &std::ops::Range<f64>) -> Vec<f64> {
    let powers = range.start.log10().floor() as i32..=range.end.log10().ceil() as i32;
    let all = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(power)));
    all.filter(|tick| range.contains(tick)).collect()
}

fn peers(report: &Report) -> Vec<String> {
    let mut peers: Vec<String> = Vec::new();
    for row in report.rows.iter().filter(|row| !row.is_ours()) {
        if !peers.contains(&row.tool) {
            peers.push(row.tool.clone());
        }
    }
    peers
}

/// Processor time, which other work on the machine changes least, against stored bytes of a full backup and of an increment. The
/// lower left corner is where to be.
fn frontier(report: &Report, ink: &Ink, area: &Area<'_>) -> Result<bool> {
    let names = ["source", "part", "home", "versions", "image"];
    let has =
        |name: &&str| report.rows.iter().any(|row| row.corpus == *name && row.work == "increment");
    let Some(corpus) = names.into_iter().find(has) else { return Ok(false) };
    let peers = peers(report);
    let about = report.corpora.get(corpus).cloned().unwrap_or_default();
    area.draw(&Text::new(format!("{about}. Left and below is better."), (16, 10), ink.text(14)))?;
    let halves = area.split_evenly((1, 2));
    for (half, (work, title)) in
        halves.iter().zip([("full", "full backup"), ("increment", "increment")])
    {
        let points = points(report, corpus, work);
        if points.is_empty() {
            continue;
        }
        let (xs, ys) = (
            bounds(points.iter().map(|point| point.1)),
            bounds(points.iter().map(|point| point.2)),
        );
        let mut chart = ChartBuilder::on(half)
            .margin(16)
            .margin_top(36)
            .caption(title, ink.text(16))
            .x_label_area_size(42)
            .y_label_area_size(56)
            .build_cartesian_2d(
                xs.clone().log_scale().with_key_points(ticks(&xs)),
                ys.clone().log_scale().with_key_points(ticks(&ys)),
            )?;
        chart
            .configure_mesh()
            .x_desc("processor seconds")
            .y_desc("MB stored")
            .x_labels(5)
            .bold_line_style(ink.grid)
            .light_line_style(TRANSPARENT)
            .axis_style(ink.text)
            .label_style(ink.text(12))
            .axis_desc_style(ink.text(13))
            .x_label_formatter(&|value| number(*value))
            .y_label_formatter(&|value| number(*value))
            .draw()?;
        let mut taken: Vec<(i32, i32, i32)> = Vec::new();
        let mut points = points;
        // Ours find their places first.
        points.sort_by_key(|(row, ..)| !row.is_ours());
        for (row, x, y) in points {
            let colour = ink.of(row, &peers);
            let radius = if row.is_ours() { 6 } else { 4 };
            chart.draw_series([Circle::new((x, y), radius, colour.filled())])?;
            let (px, py) = chart.backend_coord(&(x, y));
            // The texts are about so wide.
            let wide = i32::try_from(row.tool.len())? * 7;
            let free = |(x, y): &(i32, i32)| {
                taken.iter().all(|(left, top, wide_)| {
                    (y - top).abs() > 12 || x + wide < *left || *x > left + wide_
                })
            };
            let right = i32::try_from(half.get_pixel_range().0.end.unsigned_abs())? - wide - 4;
            let places = [
                (9, 0),
                (9, -13),
                (9, 13),
                (-wide - 4, 0),
                (-wide - 4, -13),
                (-wide - 4, 13),
                (9, 26),
                (9, -26),
                (9, 39),
                (9, -39),
            ];
            let places = places.map(|(dx, dy)| (px + dx, py + dy));
            let place = places
                .into_iter()
                .find(|place| place.0 <= right && free(place))
                .unwrap_or((px + 9, py));
            taken.push((place.0, place.1, wide));
            let (left, top) = (half.get_pixel_range().0.start, half.get_pixel_range().1.start);
            let style = ("sans-serif", 12)
                .into_font()
                .color(&colour)
                .pos(Pos::new(HPos::Left, VPos::Center));
            half.draw(&Text::new(row.tool.clone(), (place.0 - left, place.1 - top), style))?;
        }
    }
    Ok(true)
}

/// What one tool took, again and again.
struct Line {
    name: String,
    colour: RGBColor,
    ours: bool,
    points: Vec<(f64, f64)>,
}

/// Lines of one value each, with their names at their ends.
fn lines(
    area: &Area<'_>,
    ink: &Ink,
    (title, x_name, y_name): (&str, &str, &str),
    log: bool,
    series: &[Line],
) -> Result<()> {
    let all = || series.iter().flat_map(|line| line.points.iter());
    let (xs, ys) = (bounds(all().map(|point| point.0)), bounds(all().map(|point| point.1)));
    let (xs, ys) = match log {
        true => (xs.start..xs.end, ys),
        false => (0.0..xs.end / 1.7, 0.0..ys.end / 1.6),
    };
    macro_rules! chart {
        ($xs:expr, $ys:expr) => {{
            let mut chart = ChartBuilder::on(area)
                .margin(14)
                .margin_right(150)
                .caption(title, ink.text(16))
                .x_label_area_size(42)
                .y_label_area_size(60)
                .build_cartesian_2d($xs, $ys)?;
            chart
                .configure_mesh()
                .x_desc(x_name)
                .y_desc(y_name)
                .bold_line_style(ink.grid)
                .light_line_style(TRANSPARENT)
                .axis_style(ink.text)
                .label_style(ink.text(12))
                .axis_desc_style(ink.text(13))
                .x_label_formatter(&|value| format!("{value:.0}"))
                .y_label_formatter(&|value| number(*value))
                .draw()?;
            let mut ends = Vec::new();
            for Line { name, colour, ours, points } in series {
                let width = if *ours { 3 } else { 1 };
                chart.draw_series(LineSeries::new(
                    points.iter().copied(),
                    colour.stroke_width(width),
                ))?;
                if log {
                    chart.draw_series(
                        points.iter().map(|&point| Circle::new(point, 3, colour.filled())),
                    )?;
                }
                if let Some(last) = points.last() {
                    ends.push((chart.backend_coord(last), name, *colour));
                }
            }
            ends
        }};
    }
    let mut ends = match log {
        true => chart!(xs.log_scale(), ys.log_scale()),
        false => chart!(xs, ys),
    };
    ends.sort_by_key(|((_, y), ..)| *y);
    let mut lowest = i32::MIN / 2;
    let (left, top) = (area.get_pixel_range().0.start, area.get_pixel_range().1.start);
    for ((x, y), name, colour) in ends {
        lowest = y.max(lowest + 13);
        let style =
            ("sans-serif", 12).into_font().color(&colour).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(name.clone(), (x + 8 - left, lowest - top), style))?;
    }
    Ok(())
}

/// How the time of a full backup and of one of nothing new grows with the number of files.
fn growth(report: &Report, ink: &Ink, area: &Area<'_>) -> Result<bool> {
    let of = |work: &str| {
        over_files(report, ink, |row| (row.work == work).then_some(&row.tool), Row::wall)
    };
    let halves = [("full", "full backup of small files"), ("nothing changed", "nothing changed")];
    let halves = halves.map(|(work, title)| (title, "seconds", of(work)));
    side_by_side(ink, area, &halves)
}

/// How peak memory grows with the number of files: of each verb of ours, and of each tool's full backup.
fn memory(report: &Report, ink: &Ink, area: &Area<'_>) -> Result<bool> {
    let verb = |row: &Row| row.tool == "ibtools";
    let verbs = over_files(report, ink, |row| verb(row).then_some(&row.work), Row::peak);
    if verbs.is_empty() {
        return Ok(false);
    }
    let full = over_files(report, ink, |row| (row.work == "full").then_some(&row.tool), Row::peak);
    side_by_side(ink, area, &[("our verbs", "MiB", verbs), ("full backup", "MiB", full)])
}

/// Two pictures, of lines over the number of files. Whether there is anything in them.
fn side_by_side(ink: &Ink, area: &Area<'_>, halves: &[(&str, &str, Vec<Line>); 2]) -> Result<bool> {
    let mut painted = false;
    for (half, (title, unit, series)) in area.split_evenly((1, 2)).iter().zip(halves) {
        if !series.is_empty() {
            lines(half, ink, (title, "files", unit), true, series)?;
            painted = true;
        }
    }
    Ok(painted)
}

/// A line for each name that rows of small files have, over the number of files.
fn over_files<'r>(
    report: &'r Report,
    ink: &Ink,
    named: impl Fn(&'r Row) -> Option<&'r String>,
    value: impl Fn(&Row) -> f64,
) -> Vec<Line> {
    let peers = peers(report);
    let mut series: BTreeMap<&str, Line> = BTreeMap::new();
    for row in &report.rows {
        let files = row.corpus.strip_prefix("small ").and_then(|n| n.parse().ok());
        let (Some(files), Some(name)) = (files, named(row)) else { continue };
        let line = series.entry(name).or_insert_with(|| Line {
            name: name.clone(),
            colour: ink.of(row, &peers),
            ours: row.is_ours(),
            points: Vec::new(),
        });
        line.points.push((files, value(row)));
    }
    series.into_values().filter(|line| line.points.len() > 1).collect()
}

/// What is stored after each day.
fn year(report: &Report, ink: &Ink, area: &Area<'_>) -> Result<bool> {
    let peers = peers(report);
    let mut series = Vec::new();
    for full in report.rows.iter().filter(|row| row.corpus == "year" && row.work == "full") {
        let mut stored = full.stored().unwrap_or_default();
        let mut points = vec![(0.0, stored)];
        let days = report
            .rows
            .iter()
            .find(|row| row.corpus == "year" && row.work == "increment" && row.tool == full.tool);
        for (day, sample) in (1_u32..).zip(days.into_iter().flat_map(|row| &row.samples)) {
            stored += sample.stored.unwrap_or_default() as f64 / 1e6;
            points.push((f64::from(day), stored));
        }
        let (name, colour, ours) = (full.tool.clone(), ink.of(full, &peers), full.is_ours());
        series.push(Line { name, colour, ours, points });
    }
    if series.is_empty() {
        return Ok(false);
    }
    let about = report.corpora.get("year").cloned().unwrap_or_default();
    lines(area, ink, (&about, "day", "MB stored"), false, &series)?;
    Ok(true)
}

/// Bytes a second of signatures, deltas and patches of large files.
fn deltas(report: &Report, ink: &Ink, area: &Area<'_>) -> Result<bool> {
    let works = [
        "signature, 4 KiB blocks",
        "delta, the same",
        "delta, another version",
        "delta, 1% edited",
        "delta, nothing in common, half as long",
        "patch, 1% edited",
    ];
    let tools = ["rsync-core", "fast_rsync", "rdiff", "zsyncmake"];
    let mut bars = Vec::new();
    for work in works {
        for tool in tools {
            let found = report.rows.iter().find(|row| {
                // What else a tool did is said behind a comma; rdiff's signature is another tool's.
                row.work == work
                    && row.tool.split(',').next() == Some(tool)
                    && !row.tool.contains("rdiff's")
            });
            let Some(row) = found else { continue };
            let Some(mib) = row.corpus.split(' ').next().and_then(|n| n.parse::<f64>().ok()) else {
                continue;
            };
            let half = if work.ends_with("half as long") { 0.5 } else { 1.0 };
            bars.push((work, row, mib * 1.048_576 * half / row.wall()));
        }
    }
    if bars.is_empty() {
        return Ok(false);
    }
    let peers = peers(report);
    area.draw(&Text::new(
        "MB a second, on a logarithmic scale. Longer is better.",
        (16, 10),
        ink.text(14),
    ))?;
    let (left, right, top) = (270.0, 900.0, 34.0);
    let high = bars.iter().fold(0.0, |high: f64, bar| high.max(bar.2)).ln();
    let low = bars.iter().fold(f64::MAX, |low: f64, bar| low.min(bar.2)).ln() - 0.7;
    let step = (f64::from(HEIGHT) - top - 10.0) / (bars.len() + works.len()) as f64;
    let (mut y, mut before) = (top, "");
    for (work, row, speed) in bars {
        if work != before {
            y += if before.is_empty() { 0.0 } else { step };
            area.draw(&Text::new(work, (16, y as i32), ink.text(13)))?;
            before = work;
        }
        let colour = ink.of(row, &peers);
        let end = left + (speed.ln() - low) / (high - low) * (right - left);
        let corners = [(left as i32, y as i32 + 1), (end as i32, (y + step) as i32 - 1)];
        area.draw(&Rectangle::new(corners, colour.filled()))?;
        let name = row.tool.split(',').next().unwrap_or_default();
        let text = format!("{name} {speed:.0}");
        area.draw(&Text::new(
            text,
            (end as i32 + 6, y as i32),
            ("sans-serif", 12).into_font().color(&colour),
        ))?;
        y += step;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Sample;

    /// A report with all that is drawn.
    fn report() -> Report {
        let mut report =
            Report { commit: "abc".into(), machine: "a machine".into(), ..Report::default() };
        let sample = |wall, stored| Sample {
            wall,
            cpu: 1.0,
            peak: 1.0,
            stored: Some(stored),
            traffic: None,
        };
        for (tool, wall) in [("ibtools .tgz", 1.0), ("restic", 2.0)] {
            for corpus in ["source", "small 10", "small 100", "year"] {
                for work in ["full", "nothing changed", "increment"] {
                    report.add(corpus, work, tool, "", sample(wall, 1_000_000));
                }
            }
        }
        report.add("64 MiB", "delta, the same", "rsync-core", "", sample(0.1, 10));
        report
    }

    #[test]
    fn every_picture_is_drawn_twice_and_names_commit_and_machine() {
        let dir = tempfile::tempdir().unwrap();
        draw(&report(), dir.path()).unwrap();
        for what in ["frontier", "growth", "year", "deltas"] {
            for ink in ["light", "dark"] {
                let text =
                    fs::read_to_string(dir.path().join(format!("{what}-{ink}.svg"))).unwrap();
                assert!(text.contains("a machine") && text.contains("commit abc"), "{what}");
            }
        }
    }

    #[test]
    fn what_we_lose_comes_first_and_a_report_comes_back_from_its_file() {
        let mut report = report();
        let lost = Sample { wall: 9.0, cpu: 9.0, peak: 1.0, stored: None, traffic: None };
        report.add("home", "full", "ibtools .tgz", "", lost);
        report.add("home", "full", "restic", "", Sample { wall: 3.0, ..lost });
        let text = report.against();
        let first = text.lines().nth(2).unwrap();
        assert!(first.starts_with("| home, full |") && first.contains("**0.33×**"), "{first}");
        let path = tempfile::NamedTempFile::new().unwrap();
        report.write(Some(path.path()), None).unwrap();
        assert_eq!(Report::read(path.path()).unwrap().against(), text);
    }
}
