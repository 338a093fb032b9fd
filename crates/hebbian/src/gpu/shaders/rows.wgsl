// Sums and maxima over the 64 invocations of a workgroup, in a fixed order.

const LANES = 64u;
const LOWEST = -3.402823e38;

var<workgroup> lane_values: array<f32, LANES>;

fn row_sum(value: f32) -> f32 {
    let lane = own_lane;
    workgroupBarrier();
    lane_values[lane] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            lane_values[lane] += lane_values[lane + half];
        }
        workgroupBarrier();
    }
    return lane_values[0];
}

fn row_max(value: f32) -> f32 {
    let lane = own_lane;
    workgroupBarrier();
    lane_values[lane] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            lane_values[lane] = max(lane_values[lane], lane_values[lane + half]);
        }
        workgroupBarrier();
    }
    return lane_values[0];
}

// Which of the 64 invocations this is; entry points set it.
var<private> own_lane: u32;
