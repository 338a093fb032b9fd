//! Images turned and seen from elsewhere.

use image::{Rgb, RgbImage};

const BLACK: Rgb<u8> = Rgb([0; 3]);

/// A pixel; black outside.
pub(super) fn at(image: &RgbImage, x: i64, y: i64) -> Rgb<u8> {
    let inside = u32::try_from(x).ok().zip(u32::try_from(y).ok());
    inside.and_then(|(x, y)| image.get_pixel_checked(x, y)).copied().unwrap_or(BLACK)
}

/// The image turned about its middle on a canvas that holds all of it, the
/// nearest pixel for each, as torchvision's `RandomRotation(expand=True)` does.
pub(super) fn turned(image: &RgbImage, degrees: f64) -> RgbImage {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (width, height) = (f64::from(image.width()), f64::from(image.height()));
    // What exceeds a whole number by less than rounding errors does not count.
    let side = |n: f64| (n - 1e-6).ceil().max(1.0) as u32;
    let new_width = side(width * cos.abs() + height * sin.abs());
    let new_height = side(width * sin.abs() + height * cos.abs());
    let middle = |n: f64| n / 2.0 - 0.5;
    let (to_x, to_y) = (middle(f64::from(new_width)), middle(f64::from(new_height)));
    RgbImage::from_fn(new_width, new_height, |x, y| {
        let (x, y) = (f64::from(x) - to_x, f64::from(y) - to_y);
        let from = |n: f64| n.round() as i64;
        at(image, from(cos * x - sin * y + middle(width)), from(sin * x + cos * y + middle(height)))
    })
}

/// The image in perspective: its corners (upper left, then with the clock) move
/// to `corners`, bilinear, as torchvision's `perspective` with PIL does. As it
/// is where three corners lie on a line.
pub(super) fn perspective(image: &RgbImage, corners: [[f64; 2]; 4]) -> RgbImage {
    let (right, bottom) = (f64::from(image.width()) - 1.0, f64::from(image.height()) - 1.0);
    let from = [[0.0, 0.0], [right, 0.0], [right, bottom], [0.0, bottom]];
    let Some(p) = projection(corners, from) else { return image.clone() };
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let (x, y) = (f64::from(x) + 0.5, f64::from(y) + 0.5);
        let over = p[6] * x + p[7] * y + 1.0;
        let along = (p[0] * x + p[1] * y + p[2]) / over;
        let down = (p[3] * x + p[4] * y + p[5]) / over;
        bilinear(image, along, down)
    })
}

/// The colour at a place, where the first pixel's middle is at 1/2; black
/// outside, and past the last middle that of the border.
fn bilinear(image: &RgbImage, x: f64, y: f64) -> Rgb<u8> {
    let (width, height) = (f64::from(image.width()), f64::from(image.height()));
    if !(0.0..width).contains(&x) || !(0.0..height).contains(&y) {
        return BLACK;
    }
    let (x, y) = (x - 0.5, y - 0.5);
    let (left, top) = (x.floor(), y.floor());
    let (along, down) = (x - left, y - top);
    let pixel = |x: f64, y: f64| {
        at(image, x.clamp(0.0, width - 1.0) as i64, y.clamp(0.0, height - 1.0) as i64).0
    };
    let [a, b] = [pixel(left, top), pixel(left + 1.0, top)];
    let [c, d] = [pixel(left, top + 1.0), pixel(left + 1.0, top + 1.0)];
    let mix = |a: f64, b: f64, part: f64| a + part * (b - a);
    Rgb(std::array::from_fn(|i| {
        let [a, b, c, d] = [a[i], b[i], c[i], d[i]].map(f64::from);
        mix(mix(a, b, along), mix(c, d, along), down) as u8
    }))
}

/// a to h of `u = (a x + b y + c) / (g x + h y + 1)`, `v = (d x + e y + f) / ...`
/// that takes each (x, y) of `from` to the (u, v) of `to` in the same place.
fn projection(from: [[f64; 2]; 4], to: [[f64; 2]; 4]) -> Option<[f64; 8]> {
    let mut rows = [[0.0; 9]; 8];
    for (i, ([x, y], [u, v])) in from.into_iter().zip(to).enumerate() {
        rows[2 * i] = [x, y, 1.0, 0.0, 0.0, 0.0, -u * x, -u * y, u];
        rows[2 * i + 1] = [0.0, 0.0, 0.0, x, y, 1.0, -v * x, -v * y, v];
    }
    // Gauss and Jordan, the largest pivot of each column first.
    for column in 0..8 {
        let pivot = (column..8)
            .max_by(|&a, &b| f64::total_cmp(&rows[a][column].abs(), &rows[b][column].abs()))?;
        rows.swap(column, pivot);
        let divisor = rows[column][column];
        if divisor.abs() < 1e-9 {
            return None;
        }
        rows[column] = rows[column].map(|value| value / divisor);
        let line = rows[column];
        for (i, row) in rows.iter_mut().enumerate() {
            let factor = if i == column { 0.0 } else { row[column] };
            row.iter_mut().zip(line).for_each(|(value, line)| *value -= factor * line);
        }
    }
    Some(rows.map(|row| row[8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_keeps_the_middle_and_goes_the_right_way() {
        let image =
            RgbImage::from_fn(33, 33, |x, y| Rgb([if x == 16 && y <= 16 { 255 } else { 0 }, 0, 0]));
        let turned = turned(&image, 90.0);
        assert_eq!(turned.dimensions(), (33, 33));
        assert_eq!(turned.get_pixel(16, 16).0[0], 255);
        // Against the clock: what pointed up points left.
        assert_eq!((turned.get_pixel(4, 16).0[0], turned.get_pixel(28, 16).0[0]), (255, 0));
    }

    #[test]
    fn a_turned_image_is_there_to_its_corners() {
        let image = RgbImage::from_pixel(30, 20, Rgb([200, 10, 10]));
        let turned = turned(&image, 45.0);
        // 50 / sqrt(2) on both sides.
        assert_eq!(turned.dimensions(), (36, 36));
        let red = turned.pixels().filter(|pixel| pixel.0[0] == 200).count();
        assert!(red.abs_diff(600) < 30, "{red}");
    }

    /// What PIL 13 makes of the same image and the same corners.
    #[test]
    fn perspective_is_that_of_pil() {
        let value = |x: u32, y: u32| (7 * x * x + 13 * y * x + 5 * y) % 251;
        let image = RgbImage::from_fn(6, 5, |x, y| Rgb([value(x, y) as u8, 0, 0]));
        let found = perspective(&image, [[1.0, 0.0], [4.0, 1.0], [5.0, 3.0], [0.0, 4.0]]);
        let due = [
            0, 1, 13, 0, 0, 0, 0, 11, 37, 96, 220, 0, 13, 20, 54, 121, 91, 0, 16, 27, 64, 128, 217,
            204, 18, 32, 68, 121, 0, 0,
        ];
        for (found, due) in found.pixels().zip(due) {
            assert!(found.0[0].abs_diff(due) <= 1, "{found:?} {due}");
        }
        // Three corners on a line have no such view.
        let flat = perspective(&image, [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [0.0, 4.0]]);
        assert_eq!(flat, image);
    }
}
