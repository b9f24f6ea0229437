/* Where pictures are put: chosen, dropped or pasted, seen as thumbnails, taken out again. */

import { element, say, toast } from "./app.js";

export class Zone {
  /** `field` is the `.field` with the drop zone; `changed` is called when other pictures are there. */
  constructor(field, { mostBytes, changed }) {
    this.field = field;
    this.name = field.dataset.zone;
    this.input = field.querySelector("input");
    this.drop = field.querySelector(".drop");
    this.list = field.querySelector(".thumbs");
    this.mostBytes = mostBytes;
    this.changed = changed;
    this.pictures = [];
    this.most = 0;
    this.input.addEventListener("change", () => {
      this.add([...this.input.files]);
      this.input.value = "";
    });
    this.drop.addEventListener("dragover", (event) => this.over(event, true));
    this.drop.addEventListener("dragleave", (event) => this.over(event, false));
    this.drop.addEventListener("drop", (event) => {
      this.over(event, false);
      event.stopPropagation();
      this.add([...event.dataTransfer.files]);
    });
  }

  /** What is sent. */
  get used() {
    return this.pictures.slice(0, this.most).map((picture) => picture.file);
  }

  get hasRoom() {
    return this.pictures.length < this.most;
  }

  /** How many the model takes; more stay here for another model. */
  allow(most) {
    this.most = most;
    this.input.multiple = most > 1;
    this.show();
  }

  add(files) {
    for (const file of files) {
      if (!file.type.startsWith("image/")) toast(say("{name} is no picture.", { name: file.name }), "bad");
      else if (file.size > this.mostBytes) toast(say("{name} is too large: a picture may have {n} MB.", { name: file.name, n: Math.floor(this.mostBytes / 2 ** 20) }), "bad");
      else {
        // The only place there is belongs to the newest.
        if (this.most === 1) this.clear();
        if (!this.hasRoom) {
          toast(say("This model takes {n} pictures at most.", { n: this.most }), "bad");
          break;
        }
        this.pictures.push({ file, address: URL.createObjectURL(file) });
      }
    }
    this.show();
    this.changed();
  }

  clear() {
    for (const picture of this.pictures) URL.revokeObjectURL(picture.address);
    this.pictures = [];
  }

  remove(picture) {
    URL.revokeObjectURL(picture.address);
    this.pictures = this.pictures.filter((other) => other !== picture);
    this.show();
    this.changed();
    (this.list.querySelector("button") ?? this.input).focus();
  }

  show() {
    this.field.hidden = this.most === 0;
    this.drop.hidden = !this.hasRoom;
    this.list.hidden = this.pictures.length === 0;
    this.list.replaceChildren(...this.pictures.map((picture, place) => this.thumbnail(picture, place < this.most)));
  }

  thumbnail(picture, used) {
    const remove = element("button", { type: "button", class: "button small icon-only", "aria-label": say("Remove {name}", { name: picture.file.name }) }, "×");
    remove.addEventListener("click", () => this.remove(picture));
    const words = used ? picture.file.name : say("not used by this model");
    return element("li", { "data-unused": !used }, element("img", { src: picture.address, alt: "" }), element("span", { class: "cut", title: picture.file.name }, words), remove);
  }

  over(event, is) {
    event.preventDefault();
    this.drop.toggleAttribute("data-over", is);
  }
}
