//! A log-mel spectrogram with the network's windows and the padding marked.

use crate::error::{Error, Result};
use crate::pictures::{Anchor, Canvas, INK, QUIET, colour_at, tick_label, ticks};
use crate::signal::tiles;

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub struct SpectrogramView<'a> {
    /// Title of the picture.
    pub title: &'a str,
    /// `[n_mels, n_frames]`, row 0 the lowest band, in the front end's logarithmic unit.
    pub log_mel: &'a [f32],
    pub n_mels: usize,
    pub n_frames: usize,
    /// Frames that hold sound; those after it are padding.
    pub valid_frames: usize,
    /// Seconds from one frame to the next.
    pub frame_seconds: f64,
    /// Where the first frame lies in the recording.
    pub first_second: f64,
    /// `[n_mels]` frequencies in Hz that the bands are centred on; empty: the axis counts bands.
    pub centres_hz: &'a [f64],
    /// Frames in one window of the network.
    pub window: usize,
    /// Frames between the starts of two windows.
    pub hop: usize,
}

/// Left edge and width of the plot, which the waveform above it shares.
pub(super) const LEFT: f64 = 76.0;
pub(super) const WIDTH: f64 = 760.0;
/// Width of a picture that holds one.
pub(super) const PICTURE_WIDTH: f64 = LEFT + WIDTH + 100.0;
const HEIGHT: f64 = 300.0;

/// `magma` of matplotlib at 17 even places (Smith and van der Walt 2015, CC0).
const MAGMA: [[u8; 3]; 17] = [
    [0, 0, 4],
    [10, 8, 34],
    [29, 17, 71],
    [54, 16, 107],
    [81, 18, 124],
    [106, 28, 129],
    [131, 38, 129],
    [156, 46, 127],
    [183, 55, 121],
    [208, 65, 111],
    [231, 82, 99],
    [245, 107, 92],
    [252, 137, 97],
    [254, 167, 114],
    [254, 196, 136],
    [253, 226, 163],
    [252, 253, 191],
];

/// The spectrogram as an embedded PNG under axes in seconds and mel bands. The colours span the values of the
/// frames that hold sound, but for the lowest hundredth, which a single empty band would stretch.
///
/// # Errors
/// A bug if the lengths do not fit.
pub fn spectrogram_svg(view: &SpectrogramView<'_>) -> Result<String> {
    const TOP: f64 = 46.0;
    let mut canvas = Canvas::new(PICTURE_WIDTH, TOP + height(view), view.title);
    draw(&mut canvas, view, TOP)?;
    Ok(canvas.finish())
}

/// Height of what [`draw`] draws.
pub(super) fn height(view: &SpectrogramView<'_>) -> f64 {
    6.0 + 18.0 * n_window_rows(view) as f64 + HEIGHT + 56.0
}

/// Windows that overlap are drawn in as many rows as it takes.
pub(super) fn n_window_rows(view: &SpectrogramView<'_>) -> usize {
    view.window.div_ceil(view.hop.max(1)).clamp(1, window_starts(view).len().max(1)).min(8)
}

/// Draws windows, spectrogram, axes and colour bar from `y` down.
///
/// # Errors
/// A bug if the lengths do not fit.
pub(super) fn draw(canvas: &mut Canvas, view: &SpectrogramView<'_>, y: f64) -> Result<()> {
    if view.n_mels * view.n_frames != view.log_mel.len() || view.log_mel.is_empty() || view.valid_frames > view.n_frames
    {
        return Err(Error::bug(format!(
            "{} values and {} valid frames do not make a spectrogram of {} x {}",
            view.log_mel.len(),
            view.valid_frames,
            view.n_mels,
            view.n_frames
        )));
    }
    let top = y + 6.0 + 18.0 * n_window_rows(view) as f64;
    let x_of = |frame: usize| LEFT + WIDTH * frame as f64 / view.n_frames as f64;
    windows(canvas, view, y, x_of);
    let range = value_range(view);
    let image = base64(&png_image(view, range)?);
    canvas.line(format_args!(
        r#"<image x="{LEFT}" y="{top}" width="{WIDTH}" height="{HEIGHT}" preserveAspectRatio="none" image-rendering="pixelated" href="data:image/png;base64,{image}"/>"#
    ));
    padding(canvas, view, top, x_of);
    canvas.line(format_args!(
        r#"<rect x="{LEFT}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="{QUIET}"/>"#
    ));
    axes(canvas, view, top);
    colour_bar(canvas, range, top);
    Ok(())
}

/// First frame of each window.
pub(super) fn window_starts(view: &SpectrogramView<'_>) -> Vec<usize> {
    if view.window == 0 || view.hop == 0 {
        return Vec::new();
    }
    tiles::window_starts(view.n_frames, view.window, view.hop).collect()
}

/// A bar above the picture for each window, numbered from 1.
fn windows(canvas: &mut Canvas, view: &SpectrogramView<'_>, top: f64, x_of: impl Fn(usize) -> f64) {
    let (starts, n_rows) = (window_starts(view), n_window_rows(view));
    if !starts.is_empty() {
        canvas.label(LEFT - 10.0, top + 12.0, Anchor::End, &format!(r#"fill="{QUIET}""#), "windows");
    }
    for (index, &start) in starts.iter().enumerate() {
        let (x, y) = (x_of(start) + 1.0, top + 18.0 * (index % n_rows) as f64);
        let width = x_of(start + view.window) - 1.0 - x;
        canvas.line(format_args!(
            r##"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="15" rx="3" fill="#dbe9f6" stroke="#2563a8"/>"##
        ));
        let number = (index + 1).to_string();
        canvas.label(x + width / 2.0, y + 11.5, Anchor::Middle, r##"font-size="11" fill="#17406d""##, &number);
    }
}

/// Shades the frames after the sound.
fn padding(canvas: &mut Canvas, view: &SpectrogramView<'_>, top: f64, x_of: impl Fn(usize) -> f64) {
    if view.valid_frames == view.n_frames {
        return;
    }
    let x = x_of(view.valid_frames);
    let width = LEFT + WIDTH - x;
    canvas.line(format_args!(
        r##"<defs><pattern id="padding" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="8" height="8" fill="#ffffff" fill-opacity="0.55"/><rect width="3" height="8" fill="#ffffff" fill-opacity="0.35"/></pattern></defs>"##
    ));
    canvas.line(format_args!(
        r##"<rect x="{x:.1}" y="{top}" width="{width:.1}" height="{HEIGHT}" fill="url(#padding)"/>"##
    ));
    canvas.stroke((x, top), (x, top + HEIGHT), r##"stroke="#ffffff" stroke-width="2""##);
    if width > 60.0 {
        let style =
            r##"font-weight="600" stroke="#ffffff" stroke-width="4" paint-order="stroke" stroke-linejoin="round""##;
        canvas.label(x + width / 2.0, top + HEIGHT / 2.0, Anchor::Middle, style, "padding");
    }
}

fn axes(canvas: &mut Canvas, view: &SpectrogramView<'_>, top: f64) {
    let (bottom, quiet) = (top + HEIGHT, format!(r#"fill="{QUIET}""#));
    let ink = format!(r#"stroke="{INK}""#);
    let duration = view.frame_seconds * view.n_frames as f64;
    let (first, last) = (view.first_second, view.first_second + duration);
    let times = ticks(first, last, 8);
    for &time in times.iter().filter(|time| (first - 1e-9..=last).contains(*time)) {
        let x = LEFT + WIDTH * (time - first) / duration;
        canvas.stroke((x, bottom), (x, bottom + 5.0), &ink);
        canvas.label(x, bottom + 19.0, Anchor::Middle, &quiet, &tick_label(time, times[1] - times[0]));
    }
    canvas.label(LEFT + WIDTH / 2.0, bottom + 40.0, Anchor::Middle, "", "time in the recording (s)");
    let step = view.n_mels.div_ceil(4).max(1);
    for band in (0..=view.n_mels).step_by(step) {
        let y = bottom - HEIGHT * band as f64 / view.n_mels as f64;
        canvas.stroke((LEFT - 5.0, y), (LEFT, y), &ink);
        // Past the highest band stands the highest band.
        let label = match view.centres_hz.get(band).or(view.centres_hz.last()) {
            Some(hz) if *hz < 1000.0 => format!("{:.2}", hz / 1000.0),
            Some(hz) => format!("{:.1}", hz / 1000.0),
            None => band.to_string(),
        };
        canvas.label(LEFT - 9.0, y + 4.0, Anchor::End, &quiet, &label);
    }
    let middle = top + HEIGHT / 2.0;
    let turned = format!(r#"transform="rotate(-90 28 {middle})""#);
    let name = if view.centres_hz.is_empty() { "mel band" } else { "centre of mel band (kHz)" };
    canvas.label(28.0, middle, Anchor::Middle, &turned, name);
}

fn colour_bar(canvas: &mut Canvas, (low, high): (f32, f32), top: f64) {
    let x = LEFT + WIDTH + 22.0;
    canvas.line(format_args!(r#"<defs><linearGradient id="magma" x1="0" y1="1" x2="0" y2="0">"#));
    for (index, [red, green, blue]) in MAGMA.iter().enumerate() {
        let offset = index as f64 / (MAGMA.len() - 1) as f64;
        canvas.line(format_args!(r##"<stop offset="{offset:.4}" stop-color="#{red:02x}{green:02x}{blue:02x}"/>"##));
    }
    canvas.line(format_args!("</linearGradient></defs>"));
    canvas.line(format_args!(
        r##"<rect x="{x}" y="{top}" width="14" height="{HEIGHT}" fill="url(#magma)" stroke="{QUIET}"/>"##
    ));
    let (low, high) = (f64::from(low), f64::from(high));
    let values = ticks(low, high, 5);
    for &value in values.iter().filter(|value| (low..=high).contains(*value)) {
        let y = top + HEIGHT * (high - value) / (high - low);
        canvas.stroke((x + 14.0, y), (x + 18.0, y), &format!(r#"stroke="{INK}""#));
        let label = tick_label(value, values[1] - values[0]);
        canvas.label(x + 22.0, y + 4.0, Anchor::Start, &format!(r#"fill="{QUIET}""#), &label);
    }
    canvas.label(x + 7.0, top - 10.0, Anchor::Middle, &format!(r#"fill="{QUIET}""#), "log mel");
}

/// Lowest (but for one hundredth) and highest finite value of the frames that hold sound; never empty.
fn value_range(view: &SpectrogramView<'_>) -> (f32, f32) {
    let shown = if view.valid_frames == 0 { view.n_frames } else { view.valid_frames };
    let rows = view.log_mel.chunks(view.n_frames).flat_map(|row| &row[..shown]);
    let mut values: Vec<f32> = rows.copied().filter(|value| value.is_finite()).collect();
    values.sort_unstable_by(f32::total_cmp);
    match (values.get(values.len() / 100), values.last()) {
        (Some(&low), Some(&high)) if low < high => (low, high),
        (Some(&low), _) => (low - 0.5, low + 0.5),
        _ => (0.0, 1.0),
    }
}

/// One pixel per value, 256 colours, the highest band on top.
fn png_image(view: &SpectrogramView<'_>, (low, high): (f32, f32)) -> Result<Vec<u8>> {
    let palette: Vec<u8> = (0..=255).flat_map(|level| colour_at(&MAGMA, f64::from(level) / 255.0)).collect();
    let rows = view.log_mel.chunks(view.n_frames).rev().flatten();
    let level = |value: &f32| (255.0 * (value - low) / (high - low)).clamp(0.0, 255.0).round() as u8;
    let pixels: Vec<u8> = rows.map(level).collect();
    let failed = |e| Error::bug("cannot encode a picture").because(e);
    let too_large = |_| Error::bug("a spectrogram too large for a picture");
    let width = u32::try_from(view.n_frames).map_err(too_large)?;
    let height = u32::try_from(view.n_mels).map_err(too_large)?;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(palette);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&pixels).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

/// RFC 4648 base64 with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, i| bits << 8 | u32::from(chunk.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view<'a>(log_mel: &'a [f32], n_mels: usize, valid_frames: usize) -> SpectrogramView<'a> {
        let n_frames = log_mel.len() / n_mels;
        SpectrogramView {
            title: "a & b",
            log_mel,
            n_mels,
            n_frames,
            valid_frames,
            frame_seconds: 0.01,
            first_second: 0.5,
            centres_hz: &[],
            window: 4,
            hop: 2,
        }
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (text, wanted) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(text.as_bytes()), wanted);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }

    #[test]
    fn the_highest_band_is_the_top_row_of_the_picture() {
        // Two bands of three frames: the lower silent, the upper loud but for its last frame.
        let values = [-9.0, -9.0, -9.0, 1.0, 1.0, -9.0];
        let view = view(&values, 2, 3);
        let bytes = png_image(&view, value_range(&view)).expect("encodes");
        let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::IDENTITY);
        let mut reader = decoder.read_info().expect("a picture");
        let mut pixels = vec![0; reader.output_buffer_size().expect("small")];
        reader.next_frame(&mut pixels).expect("a picture");
        assert_eq!((reader.info().width, reader.info().height), (3, 2));
        assert_eq!(pixels, [255, 255, 0, 0, 0, 0]);
    }

    #[test]
    fn windows_and_padding_are_marked() {
        let values = vec![0.5; 2 * 10];
        let svg = spectrogram_svg(&view(&values, 2, 7)).expect("fits");
        for window in 1..=4 {
            assert!(svg.contains(&format!(">{window}</text>")), "{window}");
        }
        assert!(svg.contains("url(#padding)") && svg.contains("<title>a &amp; b</title>"));
        assert!(!spectrogram_svg(&view(&values, 2, 10)).expect("fits").contains("padding"));
    }

    #[test]
    fn axes_are_those_of_the_recording() {
        let values = vec![0.5; 2 * 10];
        let svg = spectrogram_svg(&view(&values, 2, 7)).expect("fits");
        assert!(
            svg.contains(">mel band<") && svg.contains(">0.50<") && svg.contains(">0.60<") && !svg.contains(">0.62<")
        );
        let svg = spectrogram_svg(&SpectrogramView { centres_hz: &[150.0, 2_040.0], ..view(&values, 2, 7) });
        assert!(
            [">centre of mel band (kHz)<", ">0.15<", ">2.0<"]
                .iter()
                .all(|text| svg.as_ref().is_ok_and(|svg| svg.contains(text)))
        );
    }

    #[test]
    fn values_that_are_not_finite_are_drawn_as_silence() {
        let svg = spectrogram_svg(&view(&[f32::NAN, 1.0, f32::NEG_INFINITY, 2.0], 2, 2)).expect("fits");
        assert!(!svg.contains("NaN") && !svg.contains("inf\""));
        assert!(spectrogram_svg(&view(&[f32::NAN; 4], 2, 0)).is_ok());
    }

    #[test]
    fn lengths_that_do_not_fit_are_a_bug() {
        assert!(spectrogram_svg(&SpectrogramView { n_frames: 3, ..view(&[0.0; 4], 2, 2) }).is_err());
        assert!(spectrogram_svg(&view(&[0.0; 4], 2, 3)).is_err());
    }
}
