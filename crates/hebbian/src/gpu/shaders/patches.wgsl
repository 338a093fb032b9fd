// Patches of a map, gathered where they are used: no unfolded matrix exists.
//
// Patch `row` starts at (row.y, row.z) of the image whose first number is
// row.x; entry `column` of a patch is channel column.x, moved by (column.y,
// column.z). What lies outside the map is zero. With STEP above 1 the map
// counts as spread out, STEP - 1 zeros between neighbours: so the gradient by
// the input of a strided convolution gathers its patches, too.

const STEP: i32 = {{step}};

@group(0) @binding(10) var<storage, read> patch_rows: array<vec4<i32>>;
@group(0) @binding(11) var<storage, read> patch_columns: array<vec4<i32>>;

fn patch_entry(row: vec4<i32>, column: vec4<i32>) -> f32 {
    var y = row.y + column.y;
    var x = row.z + column.z;
    if (y < 0 || x < 0) {
        return 0.0;
    }
    if (STEP > 1) {
        if (y % STEP != 0 || x % STEP != 0) {
            return 0.0;
        }
        y /= STEP;
        x /= STEP;
    }
    if (y >= shape.map_height || x >= shape.map_width) {
        return 0.0;
    }
    return {{source}}[row.x + (y * shape.map_width + x) * shape.map_channels + column.x];
}
