//! Drawings of what was measured, each library in comparison with libzmq.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use plotters::coord::Shift;
use plotters::coord::ranged1d::SegmentValue;
use plotters::prelude::*;

use crate::measured::Metric;
use crate::report::{LIBZMQ, Report, Spread};

/// Draws what `compare --json` has written.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What `compare --json` has written.
    file: PathBuf,
    /// The folder for the drawings.
    #[arg(long)]
    to: PathBuf,
}

/// A drawing: a panel for each case whose name contains one of these words, and for each of the metrics it has.
struct Figure {
    file: &'static str,
    words: &'static [&'static str],
    metrics: &'static [(Metric, &'static str)],
}

const FIGURES: &[Figure] = &[
    Figure { file: "one-way.svg", words: &["one way"], metrics: &[(Metric::Rate, MORE)] },
    Figure {
        file: "round-trips.svg",
        words: &["round trip"],
        metrics: &[
            (Metric::P50, "p50 to libzmq, less is better"),
            (Metric::P99, "p99 to libzmq, less is better"),
        ],
    },
    Figure { file: "many.svg", words: &["fan-", "proxy"], metrics: &[(Metric::Rate, MORE)] },
    Figure {
        file: "connections.svg",
        words: &["idle", "reconnect"],
        metrics: &[
            (Metric::Memory, "memory to libzmq, less is better"),
            (Metric::Cpu, "CPU to libzmq, less is better"),
            (Metric::Reconnect, "time to libzmq, less is better"),
        ],
    },
];
const MORE: &str = "messages a second to libzmq, more is better";

/// Panels in a row, and their sizes in pixels.
const COLUMNS: usize = 2;
const WIDTH: u32 = 480;
const TITLE: u32 = 30;
const BAR: u32 = 22;
const AXIS: u32 = 24;
const NAMES: u32 = 140;

/// Colours that can be read on white and on black.
const TEXT: RGBColor = RGBColor(119, 119, 119);
const OURS: RGBColor = RGBColor(38, 124, 220);
const OTHERS: RGBColor = RGBColor(128, 128, 128);

/// What is drawn in a panel: libraries, and how they compare.
struct Panel<'a> {
    title: String,
    bars: Vec<(&'a str, Spread)>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

pub fn run(arguments: &Arguments) {
    let report = Report::read(&arguments.file);
    let folder = arguments.to.display();
    fs::create_dir_all(&arguments.to).unwrap_or_else(|error| panic!("{folder}: {error}"));
    for figure in FIGURES {
        let path = arguments.to.join(figure.file);
        let panels = panels(&report, figure);
        if panels.is_empty() {
            eprintln!("{}: not drawn, since nothing of it was measured beside libzmq", path.display());
            continue;
        }
        draw(&path, &panels).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        println!("{}", path.display());
    }
}

fn panels<'a>(report: &'a Report, figure: &Figure) -> Vec<Panel<'a>> {
    let mut panels = Vec::new();
    for case in report.cases().into_iter().filter(|case| figure.words.iter().any(|word| case.contains(word)))
    {
        for (metric, what) in figure.metrics {
            let bars: Vec<_> = report
                .libraries(case)
                .into_iter()
                .filter_map(|library| Some((library, report.ratio(case, library, LIBZMQ, *metric)?)))
                .collect();
            if !bars.is_empty() {
                panels.push(Panel { title: format!("{case}: {what}"), bars });
            }
        }
    }
    panels
}

fn draw(path: &std::path::Path, panels: &[Panel<'_>]) -> Result<(), Box<dyn Error>> {
    let most = panels.iter().map(|panel| panel.bars.len()).max().unwrap_or(0) as u32;
    let (rows, columns) = (panels.len().div_ceil(COLUMNS), COLUMNS.min(panels.len()));
    let height = TITLE + BAR * most + AXIS;
    let root = SVGBackend::new(path, (WIDTH * columns as u32, height * rows as u32)).into_drawing_area();
    for (area, panel) in root.split_evenly((rows, columns)).iter().zip(panels) {
        // A panel with fewer bars is lower, not wider.
        let (area, _) = area.split_vertically(TITLE + BAR * panel.bars.len() as u32 + AXIS);
        draw_panel(&area, panel)?;
    }
    root.present()?;
    Ok(())
}

fn draw_panel(area: &Area<'_>, panel: &Panel<'_>) -> Result<(), Box<dyn Error>> {
    let count = panel.bars.len();
    let widest = panel.bars.iter().map(|(_, ratio)| ratio.most).fold(1.0, f64::max);
    let font = |size: u32| ("sans-serif", size).into_font().color(&TEXT);
    let area = area.titled(&panel.title, font(15))?;
    let mut chart = ChartBuilder::on(&area)
        .margin_right(8)
        .x_label_area_size(AXIS)
        .y_label_area_size(NAMES)
        // Room for the figure at the end of the longest bar.
        .build_cartesian_2d(0.0..widest * 1.15, (0..count).into_segmented())?;
    // The first library is on top.
    let name = |at: &SegmentValue<usize>| match at {
        SegmentValue::CenterOf(at) if *at < count => panel.bars[count - 1 - at].0.to_owned(),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_mesh()
        .axis_style(TEXT)
        .x_labels(8)
        // Steps are of tenths, but sums of them are not.
        .x_label_formatter(&|ratio| format!("{}", (ratio * 100.0).round() / 100.0))
        .y_labels(count + 1)
        .y_label_formatter(&name)
        .label_style(font(13))
        .draw()?;
    let one = [(1.0, SegmentValue::Exact(0)), (1.0, SegmentValue::Exact(count))];
    chart.draw_series([PathElement::new(one, TEXT.stroke_width(1))])?;
    for (number, (library, ratio)) in panel.bars.iter().enumerate() {
        let at = count - 1 - number;
        let colour = if library.starts_with("Aiomsg") { OURS } else { OTHERS };
        let corners = [(0.0, SegmentValue::Exact(at)), (ratio.median, SegmentValue::Exact(at + 1))];
        let mut bar = Rectangle::new(corners, colour.mix(0.6).filled());
        bar.set_margin(3, 3, 0, 0);
        let middle = |value| (value, SegmentValue::CenterOf(at));
        chart.draw_series([bar])?;
        chart.draw_series([PathElement::new(
            [middle(ratio.least), middle(ratio.most)],
            colour.stroke_width(2),
        )])?;
        let figure = Text::new(format!("{:.2}", ratio.median), (5, -6), font(13));
        chart.draw_series([EmptyElement::at(middle(ratio.most)) + figure])?;
    }
    Ok(())
}
