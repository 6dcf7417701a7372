/** The package's version, and what tells its files from those of another build; the build puts them here. */
declare const PACKAGE_VERSION: string;
declare const PACKAGE_BUILD: string;
export const version: string = typeof PACKAGE_VERSION === "string" ? PACKAGE_VERSION : "0";
export const buildOfFiles: string = typeof PACKAGE_BUILD === "string" ? PACKAGE_BUILD : version;
