//! The timeline as an SVG: a band per source with what it gave over time, the progress of the whole, and what happened as vertical lines.

use std::fmt::Write as _;

use crate::{
    buckets::Buckets,
    sim::run::{Report, Who},
};

const PIECES: usize = 240;
const LEFT: f64 = 150.0;
const WIDTH: f64 = 960.0;
const BAND: f64 = 46.0;
const TOP: f64 = 64.0;
/// Colours that people with colour blindness tell apart (Okabe and Ito).
const COLOURS: [&str; 7] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999"];

pub(crate) fn timeline(report: &Report) -> String {
    let (buckets, sources) = (Buckets::new(report, PIECES), report.scenario.sources.len());
    let happenings: Vec<_> = report.log.iter().filter(|line| line.who == Who::Scenario).collect();
    let bands_end = TOP + BAND * (sources + 1) as f64;
    let height = bands_end + 46.0 + 16.0 * happenings.len() as f64;
    let total_s = report.took.as_secs_f64().max(0.001);
    let x = |at_s: f64| LEFT + at_s / total_s * WIDTH;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0} {height:.0}\" font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"16\" font-weight=\"600\">{}</text>\n\
         <text x=\"16\" y=\"44\" fill=\"#555\">seed {}, {:.1} s of virtual time, {} datagrams met a fault, trace {:016x}</text>\n",
        LEFT + WIDTH + 24.0,
        escaped(&report.scenario.name),
        report.seed,
        total_s,
        report.faults.total(),
        report.shape,
    );
    for (band, (number, bytes)) in buckets.bytes.iter().enumerate() {
        let base = TOP + BAND * (band + 1) as f64 - 6.0;
        let source = &report.scenario.sources[number - 1];
        let colour = COLOURS[band % COLOURS.len()];
        let about = source.lies.as_ref().map_or_else(|| "honest".to_owned(), |lie| format!("lies: {lie:?}"));
        let _ = writeln!(
            svg,
            "<text x=\"16\" y=\"{:.1}\" font-weight=\"600\">{number}  org{}</text>",
            base - 18.0,
            source.org
        );
        let _ = writeln!(svg, "<text x=\"16\" y=\"{:.1}\" fill=\"#555\">{}</text>", base - 4.0, escaped(&about));
        area(&mut svg, base, colour, bytes.iter().map(|bytes| *bytes as f64 / buckets.most() as f64));
        for line in report.log.iter().filter(|line| line.who == Who::Source(*number)) {
            let mark = if line.text.starts_with("dropped") {
                "✗"
            } else if line.text.starts_with("lost") {
                "┆"
            } else {
                continue;
            };
            let at = x(line.at.as_secs_f64());
            let title = escaped(&line.text);
            let _ = writeln!(
                svg,
                "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#c00\" font-size=\"14\">{mark}<title>{title}</title></text>",
                base - 12.0
            );
        }
    }
    let base = bands_end - 6.0;
    let _ = writeln!(svg, "<text x=\"16\" y=\"{:.1}\" font-weight=\"600\">done</text>", base - 12.0);
    area(&mut svg, base, "#444", buckets.done.iter().copied());
    for (number, line) in (1..).zip(&happenings) {
        let at = x(line.at.as_secs_f64());
        let (y, below) = (TOP - 6.0, bands_end + 30.0 + 16.0 * f64::from(number));
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bands_end:.1}\" stroke=\"#c00\" stroke-dasharray=\"3 3\"/>"
        );
        let _ = writeln!(svg, "<text x=\"{at:.1}\" y=\"{y:.1}\" text-anchor=\"middle\" fill=\"#c00\">{number}</text>");
        let _ = writeln!(
            svg,
            "<text x=\"16\" y=\"{below:.1}\"><tspan fill=\"#c00\">{number}</tspan>  {:.2} s  {}</text>",
            line.at.as_secs_f64(),
            escaped(&line.text)
        );
    }
    for tick in 0..=8 {
        let at_s = total_s * f64::from(tick) / 8.0;
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{at_s:.1} s</text>",
            x(at_s),
            bands_end + 16.0
        );
    }
    svg + "</svg>\n"
}

/// Heights in parts of 1, over the whole width.
fn area(svg: &mut String, base: f64, colour: &str, heights: impl Iterator<Item = f64>) {
    let step = WIDTH / PIECES as f64;
    let mut path = format!("M{LEFT:.1} {base:.1}");
    for (place, height) in heights.enumerate() {
        let (from, y) = (LEFT + step * place as f64, base - height.clamp(0.0, 1.0) * (BAND - 12.0));
        let _ = write!(path, "L{from:.1} {y:.1}L{:.1} {y:.1}", from + step);
    }
    let _ =
        writeln!(svg, "<path d=\"{path}L{:.1} {base:.1}Z\" fill=\"{colour}\" fill-opacity=\"0.75\"/>", LEFT + WIDTH);
    let _ = writeln!(
        svg,
        "<line x1=\"{LEFT}\" y1=\"{base:.1}\" x2=\"{:.1}\" y2=\"{base:.1}\" stroke=\"#ccc\"/>",
        LEFT + WIDTH
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
