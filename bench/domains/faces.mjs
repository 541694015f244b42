// Render faces of the style "Personas" and say what is on each: node faces.mjs FOLDER FIRST COUNT
// Writes SEED.png, 64 x 64, for the seeds FIRST to FIRST + COUNT - 1, and dataset.json with their attributes.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { personas } from "@dicebear/collection";
import { createAvatar } from "@dicebear/core";
import { Resvg } from "@resvg/resvg-js";

const SIDE = 64;
const [folder, first, count] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const style = personas.schema.properties;
const colours = (list) => list.map((colour) => `#${colour}`);

const BACKGROUNDS = ["b6e3f4", "c0aede", "d1d4f9", "ffd5dc", "ffdfbf"];
// More than the style's own 10 %, so that each of the six kinds is on a twenty-fifth of the images.
const FACIAL_HAIR = 25;
const BARE = ["bald", "cap", "beanie"]; // no hair is seen

// Name of an attribute: what the style calls it, and its values.
const ATTRIBUTES = {
  "skin": ["skinColor", colours(style.skinColor.default)],
  "hair": ["hair", style.hair.default],
  "hair-colour": ["hairColor", colours(style.hairColor.default)],
  "eyes": ["eyes", style.eyes.default],
  "mouth": ["mouth", style.mouth.default],
  "nose": ["nose", style.nose.default],
  "facial-hair": ["facialHair", ["none", ...style.facialHair.default]],
  "clothes": ["body", style.body.default],
  "clothes-colour": ["clothingColor", colours(style.clothingColor.default)],
  "background": ["primaryBackgroundColor", colours(BACKGROUNDS)],
};

// An attribute that cannot be seen is not one of the image: null.
function value(name, drawn) {
  if (name === "hair-colour" && BARE.includes(drawn.hair) && drawn.facialHair === undefined) return null;
  const [key, values] = ATTRIBUTES[name];
  const index = values.indexOf(drawn[key] ?? "none");
  if (index < 0) throw new Error(`${name}: ${drawn[key]} is none of ${values}`);
  return index;
}

mkdirSync(folder, { recursive: true });
const attributes = Object.fromEntries(Object.keys(ATTRIBUTES).map((name) => [name, []]));
for (let seed = first; seed < first + count; seed++) {
  const options = { seed: String(seed), backgroundColor: BACKGROUNDS, facialHairProbability: FACIAL_HAIR };
  const avatar = createAvatar(personas, options);
  const drawn = avatar.toJson().extra;
  const name = `${String(seed).padStart(7, "0")}.png`;
  writeFileSync(join(folder, name), new Resvg(avatar.toString(), { fitTo: { mode: "width", value: SIDE } }).render().asPng());
  for (const attribute of Object.keys(attributes)) {
    const index = value(attribute, drawn);
    if (index !== null) attributes[attribute].push([name, index]);
  }
  if ((seed - first + 1) % 500 === 0) console.error(`${seed - first + 1} of ${count} images`);
}
const values = Object.fromEntries(Object.entries(ATTRIBUTES).map(([name, [, known]]) => [name, known]));
const record = { labels: null, attributes, attribute_values: values };
writeFileSync(join(folder, "dataset.json"), JSON.stringify(record));
