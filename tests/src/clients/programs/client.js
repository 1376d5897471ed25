// Looks a name up in one of two ways, or fetches an address into a file.
const dns = require('dns');
const fs = require('fs');

const [what, target, file] = process.argv.slice(2);

function fail(error) {
    console.error(String(error));
    process.exit(1);
}

if (what === 'lookup') {
    dns.lookup(target, { all: true }, (error, found) =>
        error ? fail(error) : found.forEach((one) => console.log(one.address)));
} else if (what === 'resolve4') {
    dns.resolve4(target, (error, found) =>
        error ? fail(error) : found.forEach((one) => console.log(one)));
} else {
    const get = require(target.startsWith('https:') ? 'https' : 'http').get;
    get(target, (response) => {
        response.on('error', fail);
        response.pipe(fs.createWriteStream(file));
    }).on('error', fail);
}
