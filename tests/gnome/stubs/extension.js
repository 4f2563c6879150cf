export class Extension {
    constructor(path) {
        this.path = path;
    }
}
