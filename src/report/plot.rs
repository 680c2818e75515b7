//! Plots as inline SVG, without a script.
//!
//! The drawing stretches with the page, and so has shapes only; what is read beside it is text of the
//! page, which stays as large as text is.

use std::fmt::Write;

use super::html::escape;

/// Units of the drawing. It is stretched to whatever room there is.
const WIDTH: f64 = 1_000.0;
const HEIGHT: f64 = 200.0;

/// Something over time.
pub struct Plot<'a> {
    /// Fit for an `id`.
    pub id: &'a str,
    pub title: &'a str,
    /// What is seen, in words.
    pub description: String,
    pub shape: Shape,
    pub series: Vec<Series>,
    /// Where there were floods, as parts of the width.
    pub shaded: Vec<(f64, f64)>,
    /// What stands below, and where.
    pub below: Vec<(f64, String)>,
    /// What a slot is called.
    pub slots: Vec<String>,
    pub unit: fn(f64) -> String,
    /// Nothing between one and two.
    pub whole: bool,
}

/// How series are drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One bar for each slot, of all series.
    Stacked,
    /// One line for each series.
    Lines,
}

pub struct Series {
    pub name: &'static str,
    /// Of the style sheet.
    pub class: &'static str,
    /// One for each slot.
    pub values: Vec<Option<f64>>,
}

impl Plot<'_> {
    /// As a figure.
    pub fn html(&self) -> String {
        let (top, ticks) = scale(self.most(), self.whole);
        let mut out = String::new();
        let Self { id, title, description, .. } = self;
        let (title, description) = (escape(title), escape(description));
        let legend: String = self
            .series
            .iter()
            .map(|series| {
                let (class, name) = (series.class, escape(series.name));
                format!("<li><span class=\"swatch {class}\"></span>{name}</li>")
            })
            .chain(
                (!self.shaded.is_empty())
                    .then(|| "<li><span class=\"swatch shade\"></span>a flood ran</li>".to_owned()),
            )
            .collect();
        // A string takes everything, here and below.
        let _ = write!(
            out,
            "<figure class=\"plot\"><figcaption><h3 id=\"{id}-h\">{title}</h3>\
             <p>{description}</p><ul class=\"legend\">{legend}</ul></figcaption>\
             <div class=\"axes\"><div class=\"y\" aria-hidden=\"true\">"
        );
        for tick in &ticks {
            let part = tick / top * 100.0;
            let _ = write!(out, "<span style=\"bottom:{part:.2}%\">{}</span>", (self.unit)(*tick));
        }
        let _ = write!(
            out,
            "</div><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-labelledby=\"{id}-t {id}-d\"><title id=\"{id}-t\">{title}</title>\
             <desc id=\"{id}-d\">{description}</desc>"
        );
        for (from, until) in &self.shaded {
            // What lasted a moment is seen, too.
            let (x, width) = (from * WIDTH, ((until - from) * WIDTH).max(2.0));
            let _ = write!(
                out,
                "<rect class=\"shade\" x=\"{x:.1}\" y=\"0\" width=\"{width:.1}\" \
                 height=\"{HEIGHT}\"/>"
            );
        }
        for tick in &ticks {
            let y = HEIGHT - tick / top * HEIGHT;
            let _ = write!(out, "<path class=\"grid\" d=\"M0 {y:.1}H{WIDTH}\"/>");
        }
        match self.shape {
            Shape::Stacked => self.bars(top, &mut out),
            Shape::Lines => self.lines(top, &mut out),
        }
        out.push_str("</svg><div class=\"x\" aria-hidden=\"true\">");
        for (index, (at, label)) in self.below.iter().enumerate() {
            let (at, minor) = (at * 100.0, if index % 2 == 1 { " class=\"minor\"" } else { "" });
            let _ = write!(out, "<span{minor} style=\"left:{at:.2}%\">{}</span>", escape(label));
        }
        out.push_str("</div></div></figure>\n");
        out
    }

    /// The largest value that is drawn.
    fn most(&self) -> f64 {
        let value = |series: &Series, slot: usize| series.values.get(slot).copied().flatten();
        let of_slot = |slot| {
            let values = self.series.iter().map(|series| value(series, slot).unwrap_or(0.0));
            match self.shape {
                Shape::Stacked => values.sum(),
                Shape::Lines => values.fold(0.0, f64::max),
            }
        };
        (0..self.slots.len()).map(of_slot).fold(0.0, f64::max)
    }

    /// The left edge and the width of a slot.
    fn place(&self, slot: usize) -> (f64, f64) {
        let width = WIDTH / self.slots.len().max(1) as f64;
        (slot as f64 * width, width)
    }

    /// What is told of a slot where somebody points at it.
    fn told(&self, slot: usize) -> String {
        let mut told = self.slots.get(slot).cloned().unwrap_or_default();
        for series in &self.series {
            if let Some(value) = series.values.get(slot).copied().flatten()
                && (value > 0.0 || self.shape == Shape::Lines)
            {
                told += &format!("\n{}: {}", series.name, (self.unit)(value));
            }
        }
        escape(&told)
    }

    fn bars(&self, top: f64, out: &mut String) {
        for slot in 0..self.slots.len() {
            let (x, width) = self.place(slot);
            let gap = width * 0.12;
            let mut y = HEIGHT;
            let mut bars = String::new();
            for series in &self.series {
                let value = series.values.get(slot).copied().flatten().unwrap_or(0.0);
                if value <= 0.0 {
                    continue;
                }
                // A record among a million is seen, too.
                let height = (value / top * HEIGHT).max(1.0);
                y -= height;
                let _ = write!(
                    bars,
                    "<rect class=\"{}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" \
                     height=\"{height:.1}\"/>",
                    series.class,
                    x + gap / 2.0,
                    y.max(0.0),
                    width - gap
                );
            }
            if !bars.is_empty() {
                let _ = write!(out, "<g><title>{}</title>{bars}</g>", self.told(slot));
            }
        }
    }

    fn lines(&self, top: f64, out: &mut String) {
        for series in &self.series {
            let point = |slot: usize| {
                let value = series.values.get(slot).copied().flatten()?;
                let (x, width) = self.place(slot);
                Some((x, width, HEIGHT - value / top * HEIGHT))
            };
            let mut path = String::new();
            let mut before = None;
            for slot in 0..self.slots.len() {
                let here = point(slot);
                if let Some((x, width, y)) = here {
                    // A step for each slot; a gap where nothing is known.
                    let step = if before.is_some() { 'L' } else { 'M' };
                    let _ = write!(path, "{step}{x:.1} {y:.1}H{:.1}", x + width);
                }
                before = here;
            }
            let _ = write!(out, "<path class=\"line {}\" d=\"{path}\"/>", series.class);
        }
        // Over everything, what is told of each slot.
        for slot in 0..self.slots.len() {
            if self.series.iter().any(|series| series.values.get(slot).copied().flatten().is_some())
            {
                let (x, width) = self.place(slot);
                let _ = write!(
                    out,
                    "<rect class=\"touch\" x=\"{x:.1}\" y=\"0\" width=\"{width:.1}\" \
                     height=\"{HEIGHT}\"><title>{}</title></rect>",
                    self.told(slot)
                );
            }
        }
    }
}

/// The top of an axis for values up to this, and what is written beside it.
fn scale(most: f64, whole: bool) -> (f64, Vec<f64>) {
    if most <= 0.0 {
        return (1.0, vec![0.0]);
    }
    let rough = most / 4.0;
    let magnitude = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|step| step * magnitude);
    let step = steps.into_iter().find(|step| *step >= rough).unwrap_or(rough);
    let step = if whole { step.max(1.0) } else { step };
    let number = (most / step).ceil().max(1.0);
    (number * step, (0..=number as usize).map(|tick| tick as f64 * step).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_above_what_is_drawn_and_has_a_few_round_ticks() {
        for most in [0.3, 1.0, 3.0, 7.0, 99.0, 100.0, 12_345.0, 4e9] {
            let (top, ticks) = scale(most, false);
            assert!(top >= most && top < most * 2.0, "{most}: {top}");
            assert!((2..=6).contains(&ticks.len()), "{most}: {ticks:?}");
            assert_eq!(ticks.last().copied(), Some(top));
        }
        assert_eq!(scale(100.0, true).1, [0.0, 25.0, 50.0, 75.0, 100.0]);
        assert_eq!(scale(0.0, true), (1.0, vec![0.0]));
        assert_eq!(scale(2.0, true), (2.0, vec![0.0, 1.0, 2.0]));
    }

    #[test]
    fn what_is_told_is_escaped() {
        let plot = Plot {
            id: "a",
            title: "<b>",
            description: "\"&".to_owned(),
            shape: Shape::Stacked,
            series: vec![Series { name: "x", class: "c", values: vec![Some(1.0)] }],
            shaded: Vec::new(),
            below: vec![(0.5, "<i>".to_owned())],
            slots: vec!["<u>".to_owned()],
            unit: super::super::figures::short,
            whole: true,
        };
        let html = plot.html();
        assert!(!html.contains("<b>") && !html.contains("<i>") && !html.contains("<u>"), "{html}");
        assert!(html.contains("&lt;b&gt;") && html.contains("&quot;&amp;"), "{html}");
    }
}
