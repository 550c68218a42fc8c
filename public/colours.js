// One colour for each task, the same in every picture of a session; far apart in hue, alike in weight.
const hues = [212, 28, 152, 280, 48, 190, 325, 95, 245, 12];

export function colour(index, isDark) {
  const hue = hues[index % hues.length];
  const shade = Math.floor(index / hues.length) % 3 * 9;
  return isDark ? `hsl(${hue} 55% ${66 - shade}%)` : `hsl(${hue} 58% ${40 + shade}%)`;
}
