import JSON
import Jobs
import Pools

/// `{"width":800,"height":600,"iterations":500}` → `{"width":…,"height":…,"png":"base64"}`, with an `output` event for
/// each finished band of the picture.
func mandelbrotTask() -> TaskDefinition {
    TaskDefinition(
        name: "mandelbrot", kind: .cpu, description: "Draws the Mandelbrot set",
        input: schema([
            "type": "object", "additionalProperties": false,
            "properties": [
                "width": ["type": "integer", "minimum": 1, "maximum": 1600, "default": 800],
                "height": ["type": "integer", "minimum": 1, "maximum": 1200, "default": 600],
                "iterations": ["type": "integer", "minimum": 1, "maximum": 100_000, "default": 500],
            ],
        ]),
        output: schema([
            "type": "object",
            "properties": ["width": ["type": "integer"], "height": ["type": "integer"], "png": ["type": "string"]],
        ]),
        pools: [.thread, .process],
        body: .function(
            blocking: { input, context in
                let width = integer("width", of: input, or: 800)
                let height = integer("height", of: input, or: 600)
                let limit = integer("iterations", of: input, or: 500)
                var picture: [UInt8] = []
                picture.reserveCapacity(width * height)
                let band = max((height + 9) / 10, 1)
                for y in 0..<height {
                    try appendRow(y, width, height, limit, context, to: &picture)
                    context.report(Progress(Double(y + 1), of: Double(height), unit: "rows"))
                    guard (y + 1) % band == 0 || y + 1 == height else { continue }
                    let first = y / band * band
                    let rows = Array(picture[first * width..<(y + 1) * width])
                    context.output(
                        object([
                            "y": .integer(first), "rows": .integer(y + 1 - first),
                            "png": .string(base64(png(rows, width, y + 1 - first))),
                        ]))
                }
                return object([
                    "width": .integer(width), "height": .integer(height),
                    "png": .string(base64(png(picture, width, height))),
                ])
            }, async: nil))
}

/// One row of palette indices: 0 inside the set, else by the number of steps to escape.
private func appendRow(
    _ y: Int, _ width: Int, _ height: Int, _ limit: Int, _ context: any TaskContext, to picture: inout [UInt8]
) throws {
    let scale = 3.0 / Double(width)
    let imaginary = (Double(y) - Double(height) / 2) * scale
    var sinceCheck = 0
    for x in 0..<width {
        let real = Double(x) * scale - 2.2
        var (a, b, steps) = (0.0, 0.0, 0)
        while steps < limit {
            let (aa, bb) = (a * a, b * b)
            if aa + bb > 4 { break }
            b = 2 * a * b + imaginary
            a = aa - bb + real
            steps += 1
        }
        picture.append(steps == limit ? 0 : UInt8(truncatingIfNeeded: 1 + steps % 255))
        sinceCheck += steps
        if sinceCheck > 2_000_000 {
            sinceCheck = 0
            try context.checkpoint()
        }
    }
    try context.checkpoint()
}
