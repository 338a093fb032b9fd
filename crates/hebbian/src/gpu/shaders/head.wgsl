// The classifier's loss: softmax, cross-entropy and their gradient.

struct Shape {
    batch: u32,
    classes: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> bias: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
// In: features by weights. Out: the scores, then one loss a row.
@group(0) @binding(3) var<storage, read_write> scores: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_scores: array<f32>;

{{rows}}

// Smallest normal number, so that a loss stays finite.
const SMALLEST = 1.17549435e-38;

@compute @workgroup_size(LANES)
fn loss(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    own_lane = lane;
    let k = shape.classes;
    let start = group.x * k;
    let label = labels[group.x];
    var best = LOWEST;
    for (var i = lane; i < k; i += LANES) {
        let score = scores[start + i] + bias[i];
        scores[start + i] = score;
        best = max(best, score);
    }
    best = row_max(best);
    var sum = 0.0;
    for (var i = lane; i < k; i += LANES) {
        sum += exp(scores[start + i] - best);
    }
    sum = row_sum(sum);
    for (var i = lane; i < k; i += LANES) {
        let p = exp(scores[start + i] - best) / sum;
        d_scores[start + i] = (p - select(0.0, 1.0, i == label)) / f32(shape.batch);
        if (i == label) {
            scores[shape.batch * k + group.x] = -log(max(p, SMALLEST));
        }
    }
}
