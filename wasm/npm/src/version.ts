/** The package's version; the build puts package.json's here. */
declare const PACKAGE_VERSION: string;
export const version: string = typeof PACKAGE_VERSION === "string" ? PACKAGE_VERSION : "0";
